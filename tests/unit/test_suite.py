"""The SAEs of runs, and which numbers they are compared by."""

import json

import pytest
from example_suite import HOOKPOINT, MODEL, quality, write_suite

from cluster.suite import Site, read_suite
from shared.errors import UserError


def test_saes_are_what_their_runs_say(tmp_path):
    suite = read_suite([write_suite(tmp_path / "one", sizes=(64, 32), ks=(4, 8))])
    assert suite.sites == [Site(MODEL, (HOOKPOINT,), (HOOKPOINT,))] and str(suite.sites[0]) == f"{HOOKPOINT} of {MODEL}"
    saes = suite.at(suite.sites[0])
    assert [one.name for one in saes] == ["topk-32-k4", "topk-32-k8", "topk-64-k4", "topk-64-k8"]
    first = saes[0]
    assert (first.architecture, first.num_latents, first.sparsity, first.l0, first.tokens) == (
        "topk",
        32,
        "k=4",
        4.0,
        100_000,
    )
    assert first.fvu == pytest.approx(quality(32, 4, 100_000)) and first.dead_fraction == 1 / 32


def test_held_out_numbers_come_first_and_it_is_said_where_there_are_none(tmp_path):
    run = write_suite(tmp_path / "one", sizes=(32, 64), evaluated=["topk-32-k4"])
    suite = read_suite([run])
    evaluated, trained = suite.at(suite.sites[0])
    assert evaluated.source == "evaluation.json" and trained.source == "metrics.json"
    assert evaluated.fvu == pytest.approx(quality(32, 4, 100_000) + 0.01)
    assert evaluated.ce_delta == pytest.approx(quality(32, 4, 100_000) / 2) and trained.ce_delta is None
    assert suite.missing == [
        "FVU and L0 are of held-out text, but for topk-64-k4, where they are those of training: compare with care."
    ]
    (run / "saes" / "topk-32-k4" / "evaluation.json").unlink()
    assert "No SAE has been evaluated" in read_suite([run]).missing[0]


def test_names_of_several_runs_do_not_clash(tmp_path):
    runs = [write_suite(tmp_path / name, sizes=(32,), evaluated=["topk-32-k4"]) for name in ("one", "two")]
    assert [one.name for one in read_suite(runs).saes] == ["one/topk-32-k4", "two/topk-32-k4"]
    with pytest.raises(UserError, match="a run is named twice"):
        read_suite([runs[0], tmp_path / "two" / ".." / "one"])


def test_what_is_not_there_is_a_sentence(tmp_path):
    run = write_suite(tmp_path / "one", sizes=(32, 64, 128), unfinished=["topk-64-k4"])
    damaged = run / "saes" / "topk-128-k4"
    (damaged / "metrics.json").write_text("{")
    suite = read_suite([run])
    assert [one.name for one in suite.saes] == ["topk-32-k4"]
    assert suite.missing[:2] == [
        f"Not finished in {run}, and left out: topk-64-k4.",
        f"{damaged} is left out: metrics.json is not JSON.",
    ]
    (damaged / "metrics.json").write_text(json.dumps({"tokens": 5, "fvu": None, "l0": 4.0}))
    assert f"{damaged} is left out: metrics.json has no FVU or no L0." in read_suite([run]).missing


def test_runs_without_saes_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"is not a run folder: it holds no job\.yaml"):
        read_suite([tmp_path])
    run = write_suite(tmp_path / "one", sizes=(32,), unfinished=["topk-32-k4"])
    with pytest.raises(UserError, match="there is no finished SAE in"):
        read_suite([run])


def test_an_sae_whose_trainer_has_left_tells_of_itself(tmp_path):
    run = write_suite(tmp_path / "one", sizes=(32, 64))
    (run / "saes" / "topk-64-k4").rename(run / "saes" / "left-early")
    left = next(one for one in read_suite([run]).saes if one.name == "left-early")
    assert (left.architecture, left.num_latents, left.sparsity) == ("topk", 64, "k=4")


def test_a_transcoder_is_compared_at_a_site_of_its_own(tmp_path):
    run = write_suite(tmp_path / "one", sizes=(32, 64))
    path = run / "saes" / "topk-64-k4" / "cfg.json"
    config = json.loads(path.read_text())
    config["metadata"]["headrace"] |= {"inputs": ["a"], "targets": ["b"]}
    path.write_text(json.dumps({**config, "d_out": 48}))
    suite = read_suite([run])
    assert [str(site) for site in suite.sites] == [f"{HOOKPOINT} of {MODEL}", f"a → b of {MODEL}"]
    assert suite.at(suite.sites[1])[0].d_out == 48
