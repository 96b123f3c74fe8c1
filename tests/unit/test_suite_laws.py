"""Which SAEs a law is fitted to, and what is said where there are too few."""

from itertools import pairwise

import pytest
from example_suite import D_IN, write_suite

from cluster.suite import read_suite
from cluster.suite_laws import compute_of, fit_laws


def laws_of(*runs):
    suite = read_suite(runs)
    return fit_laws(suite.at(suite.sites[0]))


def test_a_run_of_sizes_and_sparsities_has_laws_of_both(tmp_path):
    laws = laws_of(write_suite(tmp_path / "one", sizes=(32, 64, 128, 256), ks=(2, 4, 8)))
    by_name = {(law.fit.form.name, law.among) for law in laws.fitted}
    assert by_name == {
        *(("latents", f"k={k}, 100,000 tokens") for k in (2, 4, 8)),
        *(("compute", f"k={k}, cheapest for their FVU") for k in (2, 4, 8)),
        ("joint", "100,000 tokens"),
    }
    assert [law.among for law in laws.fitted][:3] == [f"k={k}, 100,000 tokens" for k in (2, 4, 8)]
    assert [len(law.saes) for law in laws.fitted if law.fit.form.name == "joint"] == [12]
    assert len(laws.refused) == 2
    assert (
        laws.refused[0].startswith("topk: the law tokens has 5 constants") and "1 number of tokens." in laws.refused[0]
    )


def test_runs_of_several_lengths_have_laws_of_tokens(tmp_path):
    runs = [write_suite(tmp_path / f"{tokens}", tokens=tokens) for tokens in (50_000, 200_000, 800_000)]
    laws = laws_of(*runs)
    law = next(law for law in laws.fitted if law.fit.form.name == "tokens")
    assert len(law.saes) == 12 and law.fit.held_out.worst < 0.02
    assert law.fit.constants["alpha"].value == pytest.approx(0.4, abs=0.05)
    assert law.fit.constants["beta"].value == pytest.approx(0.4, abs=0.05)


def test_a_law_of_compute_is_of_compute_that_was_well_spent(tmp_path):
    short, long = (write_suite(tmp_path / f"{tokens}", tokens=tokens) for tokens in (20_000, 80_000))
    law = next(law for law in laws_of(short, long).fitted if law.fit.form.name == "compute")
    cheapest = sorted((compute_of(one), one.fvu) for one in law.saes)
    assert all(a[1] > b[1] for a, b in pairwise(cheapest)) and len(cheapest) < 8
    assert not any(one.name == "20000/topk-256-k4" for one in law.saes)


def test_compute_is_that_of_training(tmp_path):
    suite = read_suite([write_suite(tmp_path / "one", sizes=(64,), ks=(4,), tokens=1000)])
    assert compute_of(suite.saes[0]) == 1000 * (2 * 64 * D_IN + 8 * 4 * D_IN)


def test_one_sae_is_refused_for_each_law(tmp_path):
    laws = laws_of(write_suite(tmp_path / "one", sizes=(32,)))
    assert laws.fitted == [] and len(laws.refused) == 5
    assert laws.refused[0] == (
        "topk: the law latents has 3 constants and needs at least 4 SAEs with 4 numbers of latents; "
        "here are 1 with 1 number of latents."
    )
