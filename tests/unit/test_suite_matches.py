"""SAEs whose latents are each other's: what is told of them, and what is left for other pages to read."""

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from example_suite import D_IN, directions, write_sae, write_suite
from safetensors.torch import load_file, save_file

from cluster import suite_matches
from cluster.suite import read_suite
from cluster.suite_matches import BINS, match_pairs, pairs_of
from trainers.dictionary_match import match_dictionaries


def saes_of(*runs):
    suite = read_suite(runs)
    return suite.at(suite.sites[0])


def pair_names(pairs):
    return [(pair.first.name, pair.second.name) for pair in pairs]


def test_sizes_are_matched_neighbours_first(tmp_path):
    pairs, left_out = pairs_of(saes_of(write_suite(tmp_path / "one", sizes=(32, 64, 128), ks=(2, 4))), "sizes")
    names = pair_names(pairs)
    assert set(names[:4]) == {(f"topk-{a}-k{k}", f"topk-{b}-k{k}") for a, b in ((32, 64), (64, 128)) for k in (2, 4)}
    assert set(names[4:]) == {(f"topk-32-k{k}", f"topk-128-k{k}") for k in (2, 4)} and left_out == []


def test_all_and_none_are_what_they_say(tmp_path):
    saes = saes_of(write_suite(tmp_path / "one", sizes=(32, 64), ks=(2, 4)))
    assert len(pairs_of(saes, "all")[0]) == 6 and pairs_of(saes, "none") == ([], [])
    assert all(pair.first.num_latents <= pair.second.num_latents for pair in pairs_of(saes, "all")[0])


def test_what_would_take_long_is_left_out_and_named(tmp_path, monkeypatch):
    saes = saes_of(write_suite(tmp_path / "one", sizes=(32, 64, 128)))
    monkeypatch.setattr(suite_matches, "MOST_FLOPS", 2.0 * D_IN * 64 * (32 + 128))
    pairs, left_out = pairs_of(saes, "sizes")
    assert len(pairs) == 2 and pair_names(left_out) == [("topk-32-k4", "topk-128-k4")]
    assert len(pairs_of(saes, "all")[0]) == 3


@pytest.fixture
def matched(tmp_path):
    """The wider begins with the narrower's latents; its own 40th is near the narrower's 5th."""
    run = write_suite(tmp_path / "run", sizes=(32, 64))
    weights = run / "saes" / "topk-64-k4" / "sae_weights.safetensors"
    tensors = load_file(weights)
    tensors["W_dec"][40] = tensors["W_dec"][5] + 0.3 * directions(4096)[4000]
    save_file(tensors, weights)
    saes = saes_of(run)
    facts = match_pairs(pairs_of(saes, "sizes")[0], tmp_path / "out", same=0.7)
    return tmp_path / "out", facts[0], tensors["W_dec"]


def test_what_is_told_of_a_pair(matched):
    _, facts, wide = matched
    match = match_dictionaries(directions(32), wide)
    assert (facts.first, facts.second, facts.is_exact, facts.num_pairs) == ("topk-32-k4", "topk-64-k4", True, 32)
    assert (facts.from_first.mmcs, facts.from_second.mmcs, facts.mcc) == (*match.mmcs, match.mcc)
    assert facts.from_first.mmcs == pytest.approx(1) and facts.from_first.without_counterpart == 0
    assert facts.same_number == 1
    assert facts.num_splits == 1 and facts.most_split[0].latent == 5 and facts.most_split[0].children == [5, 40]
    alone = int((match.second.cosines < 0.7).sum())
    assert alone > 20 and facts.from_second.without_counterpart == alone
    assert facts.from_second.without_counterpart_that_fired == alone - 1, "the last latent never fired"
    assert sum(facts.from_second.histogram) == 64 and len(facts.from_second.histogram) == len(BINS) - 1


def test_every_latent_is_left_with_its_nearest(matched):
    folder, _, wide = matched
    match = match_dictionaries(directions(32), wide)
    table = pq.read_table(folder / "latents" / "topk-64-k4.parquet")
    assert table["latent"].to_pylist() == list(range(64)) and set(table["other"].to_pylist()) == {"topk-32-k4"}
    assert table["nearest"].to_pylist() == match.second.columns.tolist()
    assert table["cosine"].to_pylist() == pytest.approx(match.second.cosines.tolist())
    partners = dict(zip(match.pairs.columns.tolist(), match.pairs.rows.tolist(), strict=True))
    assert table["partner"].to_pylist() == [partners.get(latent) for latent in range(64)]
    assert pc.count(table["partner_cosine"]).as_py() == 32
    narrow = pq.read_table(folder / "latents" / "topk-32-k4.parquet")
    assert narrow["partner"].to_pylist() == match.pairs.columns.tolist()


def test_splits_are_left_as_a_table(matched):
    folder, _, _ = matched
    rows = pq.read_table(folder / "splits.parquet").to_pylist()
    assert [(one["sae"], one["latent"], one["other"], one["child"]) for one in rows] == [
        ("topk-32-k4", 5, "topk-64-k4", 5),
        ("topk-32-k4", 5, "topk-64-k4", 40),
    ]
    assert rows[0]["cosine"] == pytest.approx(1) and 0.7 < rows[1]["cosine"] < 1


def test_latents_of_one_sae_stand_by_latent_for_all_others(tmp_path):
    runs = [write_suite(tmp_path / name, sizes=(32, 64)) for name in ("one", "two")]
    match_pairs(pairs_of(saes_of(*runs), "all")[0], tmp_path / "out", same=0.7)
    table = pq.read_table(tmp_path / "out" / "latents" / "one--topk-32-k4.parquet")
    assert table["latent"].to_pylist()[:4] == [0, 0, 0, 1]
    assert table["other"].to_pylist()[:3] == ["one/topk-64-k4", "two/topk-32-k4", "two/topk-64-k4"]


def test_without_pairs_there_is_an_empty_table_of_splits(tmp_path):
    assert match_pairs([], tmp_path / "out", same=0.7) == []
    assert pq.read_table(tmp_path / "out" / "splits.parquet").num_rows == 0


def test_an_sae_of_which_nothing_is_known_of_firing(tmp_path):
    run = write_suite(tmp_path / "run", sizes=(32, 64))
    write_sae(run / "saes" / "topk-64-k4", 64, 4, 100_000)
    (run / "saes" / "topk-64-k4" / "sparsity.safetensors").unlink()
    facts = match_pairs(pairs_of(saes_of(run), "sizes")[0], tmp_path / "out", same=0.7)[0]
    assert facts.from_second.without_counterpart_that_fired is None and facts.from_second.without_counterpart > 0
    assert facts.most_split == []
