"""Units are fixed by configuration, seed and files; sources of every kind are found; what is missing is a sentence."""

import json
import os
import sysconfig
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import text

from producers.corpus import Corpus
from producers.hub_dataset import parse_hub_source
from producers.slices import SLICE, even_slices, held_out, shuffled, unit_edges
from shared.config import CorpusConfig
from shared.errors import UserError

os.environ["HF_HUB_OFFLINE"] = "1"


def opened(source: str | list[str], seed: int = 0, holdout: float = 0.0, **changes: object) -> Corpus:
    config = {"source": source, "unit_contexts": 8, "context_tokens": 16, **changes}
    return Corpus.open(CorpusConfig.model_validate(config), seed, holdout)


def texts(corpus: Corpus) -> list[list[str | None]]:
    return [[document.text for document in corpus.documents(unit)] for unit in range(corpus.num_units)]


def flat(corpus: Corpus) -> list[str]:
    return sorted(one or "" for unit in texts(corpus) for one in unit)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Forty lines in two .jsonl files, one of them in a folder, beside files that are no data."""
    (tmp_path / "sub").mkdir()
    for number, name in enumerate(["b.jsonl", "sub/a.jsonl"]):
        lines = [json.dumps({"text": f"{number}.{line} " + text(40, seed=line)}) for line in range(20)]
        (tmp_path / name).write_text("\n".join(lines))
    (tmp_path / "README.md").write_text("not data")
    (tmp_path / "dataset_info.json").write_text("{\n}")
    (tmp_path / ".hidden.jsonl").write_text("not data")
    return tmp_path


def test_the_same_seed_gives_the_same_units(folder: Path) -> None:
    assert texts(opened(str(folder))) == texts(opened(str(folder)))
    assert texts(opened(str(folder), seed=1)) != texts(opened(str(folder)))
    assert flat(opened(str(folder), seed=1)) == flat(opened(str(folder)))


def test_a_unit_is_the_same_whatever_was_read_before(folder: Path) -> None:
    corpus = opened(str(folder))
    backwards = {unit: list(corpus.documents(unit)) for unit in reversed(range(corpus.num_units))}
    assert [backwards[unit] for unit in range(corpus.num_units)] == [
        list(opened(str(folder)).documents(unit)) for unit in range(corpus.num_units)
    ]


def test_units_are_mixed_from_all_files(folder: Path) -> None:
    corpus = opened(str(folder), unit_contexts=256)
    origins = [{one.split(".")[0] for one in unit if one} for unit in texts(corpus)]
    assert all(origin == {"0", "1"} for origin in origins)


def test_units_have_about_the_tokens_that_were_asked_for() -> None:
    corpus = opened("stdlib", unit_contexts=256, context_tokens=128)
    sizes = [sum(len(one or "") for one in unit) for unit in texts(corpus)]
    assert corpus.num_units == pytest.approx(corpus.num_tokens / (256 * 128), rel=0.1)
    assert np.median(sizes) == pytest.approx(256 * 128 * 3.5, rel=0.3) and max(sizes) < 3 * np.median(sizes)


def test_each_epoch_has_everything_once_in_another_order(folder: Path) -> None:
    once, twice = opened(str(folder)), opened(str(folder), epochs=2)
    all_texts = [one for unit in texts(twice) for one in unit]
    assert Counter(all_texts) == Counter(flat(once) * 2)
    assert all_texts[:40] != all_texts[40:] and sorted(map(str, all_texts[:40])) == flat(once)


def test_a_unit_that_is_not_there_is_an_index_error(folder: Path) -> None:
    corpus = opened(str(folder))
    with pytest.raises(IndexError):
        next(corpus.documents(corpus.num_units))
    with pytest.raises(IndexError):
        next(corpus.held_out(0))


@pytest.fixture
def sixty(tmp_path: Path) -> Path:
    """Sixty small files, of which each is one slice and one document."""
    for number in range(60):
        (tmp_path / f"{number:02}.txt").write_text(f"{number} " + text(20, seed=number))
    return tmp_path


def held_out_texts(corpus: Corpus) -> list[str]:
    return [one.text or "" for unit in range(corpus.num_held_out_units) for one in corpus.held_out(unit)]


@pytest.mark.parametrize("epochs", [1, 3])
def test_what_is_held_out_is_in_no_unit_of_any_epoch_and_the_rest_is(sixty: Path, epochs: int) -> None:
    whole, corpus = opened(str(sixty)), opened(str(sixty), holdout=0.2, epochs=epochs)
    apart, read = held_out_texts(corpus), flat(corpus)
    assert len(set(apart)) == len(apart) == pytest.approx(12, abs=2)
    assert not set(apart) & set(read)
    assert Counter(read) == Counter([one for one in flat(whole) if one not in apart] * epochs)
    assert corpus.held_out_contexts == pytest.approx(sum(map(len, apart)) / 3.5 / 16, abs=1)


def test_the_seed_fixes_what_is_held_out(sixty: Path) -> None:
    first, again, other = (opened(str(sixty), seed=seed, holdout=0.2) for seed in (0, 0, 1))
    assert held_out_texts(first) == held_out_texts(again) != held_out_texts(other)
    assert texts(first) == texts(again)
    assert first.fingerprint == again.fingerprint
    assert len({first.fingerprint, other.fingerprint, opened(str(sixty)).fingerprint}) == 3


def test_holding_nothing_out_changes_nothing(sixty: Path) -> None:
    plain, zero = opened(str(sixty)), opened(str(sixty), holdout=0.0)
    assert texts(plain) == texts(zero) and plain.fingerprint == zero.fingerprint
    assert zero.num_held_out_units == 0 and zero.held_out_contexts == 0


def test_a_corpus_of_few_slices_holds_out_none_and_knows_from_which_share_it_would(sixty: Path) -> None:
    corpus = opened(str(sixty), holdout=0.001)
    assert corpus.num_held_out_units == 0
    assert flat(corpus) == flat(opened(str(sixty)))
    assert 0.006 < corpus.least_holdout < 1 / 120
    assert opened(str(sixty), holdout=corpus.least_holdout * 0.999).num_held_out_units == 0
    assert opened(str(sixty), holdout=corpus.least_holdout * 1.001).num_held_out_units == 1


@given(st.lists(st.floats(0.1, 100), min_size=1, max_size=200), st.floats(0, 0.5), st.integers(0, 2**32 - 1))
def test_about_the_share_is_held_out_and_never_all(tokens: list[float], share: float, seed: int) -> None:
    sizes = np.array(tokens)
    apart = held_out(sizes, share, np.random.default_rng(seed))
    assert len(set(apart.tolist())) == len(apart) < len(sizes) + (len(sizes) == 1 and share == 0.5)
    assert sizes[apart].sum() <= 2 * share * sizes.sum() * (1 + 1e-9)
    biggest_taken = max(sizes[sizes <= 2 * share * sizes.sum()], default=0)
    eligible = sizes[sizes <= 2 * share * sizes.sum()].sum()
    assert sizes[apart].sum() >= min(eligible, share * sizes.sum() - biggest_taken / 2) * (1 - 1e-9)


def test_fingerprint_follows_names_sizes_and_slicing_but_not_the_place(folder: Path, tmp_path: Path) -> None:
    first = opened(str(folder)).fingerprint
    assert opened(str(folder), seed=5).fingerprint == first
    assert opened(str(folder), unit_contexts=1024).fingerprint != first
    moved = folder.rename(tmp_path.parent / f"{tmp_path.name}-moved")
    assert opened(str(moved)).fingerprint == first
    (moved / "b.jsonl").write_text((moved / "b.jsonl").read_text() + "\n")
    assert opened(str(moved)).fingerprint != first


def test_every_way_to_name_files_finds_them(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    everything = flat(opened(str(folder)))
    assert len(everything) == 40
    ways: list[str | list[str]] = [
        f"file://{folder}",
        f"{folder}/**/*.jsonl",
        f"file://{folder}/**/*.jsonl",
        f"{folder}/**/[ab].jso?l",
        [f"{folder}/b.jsonl", f"{folder}/sub"],
        [f"{folder}/b.jsonl", f"{folder}"],
    ]
    for way in ways:
        assert flat(opened(way)) == everything, way
    monkeypatch.chdir(folder)
    assert flat(opened(".")) == flat(opened(["b.jsonl", "sub/*"])) == everything
    assert len(flat(opened("*.jsonl"))) == len(flat(opened("*/[!b].jsonl"))) == 20


def test_a_star_does_not_reach_into_folders(folder: Path) -> None:
    assert all(one.startswith("0.") for one in flat(opened(f"{folder}/*.jsonl")))


def test_stdlib_is_the_librarys_own_code() -> None:
    corpus = opened("stdlib", unit_contexts=512, context_tokens=128)
    found = flat(corpus)
    dataclasses = (Path(sysconfig.get_paths()["stdlib"]) / "dataclasses.py").read_text()
    assert dataclasses[:2000] in {one[:2000] for one in found}
    names = {source.name for source in corpus._sources}
    assert {"dataclasses.py", "json/decoder.py"} <= names and len(names) > 300
    assert not any(name.startswith(("test/", "site-packages/", "idlelib/idle_test/")) for name in names)


def test_a_data_set_folder_is_read_through_datasets(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    lines = [f"{number} {text(20, seed=number)}" for number in range(50)]
    made = datasets.DatasetDict({"train": datasets.Dataset.from_dict({"text": lines})})
    made.save_to_disk(tmp_path / "saved")
    assert flat(opened(f"hf://{tmp_path}/saved:train")) == sorted(lines)
    made["train"].to_parquet(tmp_path / "plain" / "train.parquet")
    assert flat(opened(f"hf://{tmp_path}/plain:train[:20]")) == sorted(lines[:20])
    with pytest.raises(UserError, match=r"corpus\.text_column: hf://.* has no column 'body'; it has text"):
        opened(f"hf://{tmp_path}/saved:train", text_column="body")
    with pytest.raises(UserError, match="cannot load hf://"):
        opened(f"hf://{tmp_path}/saved:absent")


def test_names_of_hub_data_sets() -> None:
    assert parse_hub_source("hf://owner/name:train") == ("owner/name", None, "train")
    assert parse_hub_source("hf://owner/name/en:train") == ("owner/name", "en", "train")
    assert parse_hub_source("hf://name:test") == ("name", None, "test")
    with pytest.raises(UserError, match="must name a split"):
        parse_hub_source("hf://owner/name")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{folder}/absent.jsonl", "there is no file or folder"),
        ("{folder}/*.parquet", "no file matches"),
        ("{folder}/absent/*.parquet", "no file matches"),
        ("{folder}/README.md", "README.md ends in none of .parquet"),
        ("{folder}/empty", "holds no file"),
        ("{folder}/blank.txt", "there is no text in"),
        ("ftp://host/a.txt", "cannot list ftp://host/a.txt"),
        ("file:///absent-folder", "there is no file or folder"),
    ],
)
def test_a_source_that_gives_nothing_is_one_sentence(source: str, message: str, folder: Path) -> None:
    (folder / "empty").mkdir()
    (folder / "blank.txt").write_text("")
    with pytest.raises(UserError, match=message) as caught:
        opened(source.format(folder=folder))
    assert "\n" not in str(caught.value)


def slices_of(sizes: list[list[int]]) -> np.ndarray:
    """One reader a list, one part a number: that many slices of ten tokens."""
    found = [np.zeros(0, SLICE)]
    for reader, parts in enumerate(sizes):
        for part, size in enumerate(parts):
            one = even_slices(part, size, 10.0 * size, 10.0)
            one["reader"] = reader
            found.append(one)
    return np.concatenate(found)


@given(st.lists(st.lists(st.integers(0, 12), max_size=5), min_size=1, max_size=4), st.integers(0, 9))
def test_every_slice_is_in_the_order_once(sizes: list[list[int]], seed: int) -> None:
    slices = slices_of(sizes)
    order = shuffled(slices, np.random.default_rng(seed)) if len(slices) else np.zeros(0, int)
    assert sorted(order) == list(range(len(slices)))


def test_slices_of_a_part_stay_within_a_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("producers.slices.WINDOW_TOKENS", 400)
    slices = slices_of([[10] * 20])
    parts = slices["part"][shuffled(slices, np.random.default_rng(0))]
    reach = [np.ptp(np.flatnonzero(parts == part)) for part in range(20)]
    assert max(reach) < 60 and np.median(reach) > 20 and len(set(parts[:40].tolist())) > 2


@given(st.lists(st.floats(0.1, 500), min_size=1, max_size=60), st.floats(1, 300))
def test_units_cover_all_slices_and_none_is_empty(tokens: list[float], unit_tokens: float) -> None:
    edges = unit_edges(np.array(tokens), unit_tokens)
    assert edges[0] == 0 and edges[-1] == len(tokens) and (np.diff(edges) > 0).all()
