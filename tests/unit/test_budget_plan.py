"""`headrace plan`: what it advises, from which law, and how it says what it does not know."""

import json

import numpy as np
import pytest
from example_suite import D_IN, HOOKPOINT, quality, write_suite

from cluster.budget_plan import Request, advise
from cluster.exit_code import exit_code
from cluster.run_plan import plan_by_runs
from cluster.suite import read_suite
from shared.errors import UserError

LENGTHS = (50_000, 200_000, 800_000)


@pytest.fixture(scope="module")
def lengths(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return [write_suite(folder / f"{tokens}", tokens=tokens) for tokens in LENGTHS]


@pytest.fixture(scope="module")
def one_length(tmp_path_factory):
    return write_suite(tmp_path_factory.mktemp("runs") / "one", ks=(2, 4, 8))


def advice_of(runs, request, model_flops=0.0):
    suite = read_suite(runs)
    return advise(suite, request, {site: model_flops for site in suite.sites})


def best_by_hand(budget):
    """The lowest FVU of the true law, over all sizes."""
    sizes = np.geomspace(64, 2**24, 4000)
    losses = [quality(n, 4, budget / (2 * D_IN * n + 8 * 4 * D_IN)) for n in sizes]
    return sizes[np.argmin(losses)], min(losses)


def test_size_and_tokens_are_those_where_the_true_law_is_lowest(lengths):
    advice, refused = advice_of(lengths, Request(compute=1e12))
    one, (size, loss) = advice[0], best_by_hand(1e12)
    assert refused == [] and one.knows_tokens and one.law.fit.form.name == "tokens"
    assert one.spending.latents.value == pytest.approx(size, rel=0.15)
    assert one.spending.loss.value == pytest.approx(loss, rel=0.02)
    assert one.rounded.latents == 2 ** round(np.log2(one.spending.latents.value))
    assert one.rounded.tokens * (2 * D_IN * one.rounded.latents + 8 * 4 * D_IN) == pytest.approx(1e12)


def test_it_says_when_it_extrapolates(lengths):
    far = advice_of(lengths, Request(compute=1e14))[0][0]
    times = far.spending.latents.value / 256, far.spending.tokens.value / 800_000
    assert far.notes == [
        f"This extrapolates: {times[0]:.2g} times the latents of the widest and {times[1]:.2g} times the tokens of the "
        "longest trained SAE that was measured."
    ]
    near = advice_of(lengths, Request(compute=3e9))[0][0]
    assert near.notes == [] and 32 <= near.spending.latents.value <= 256


def test_a_larger_model_and_a_short_corpus_are_reckoned_with(lengths):
    free = advice_of(lengths, Request(compute=1e12))[0][0]
    dear = advice_of(lengths, Request(compute=1e12), model_flops=1e6)[0][0]
    assert dear.spending.tokens.value < free.spending.tokens.value
    short = advice_of(lengths, Request(compute=1e12, tokens=1e5))[0][0]
    assert short.spending.tokens.value == 1e5 and short.rounded.tokens <= 1e5


def test_saes_of_one_length_say_nothing_of_tokens(one_length):
    advice, _ = advice_of([one_length], Request(compute=1e12))
    assert [(one.sparsity, one.law.fit.form.name, one.knows_tokens) for one in advice] == [
        (f"k={k}", "latents", False) for k in (2, 4, 8)
    ]
    one = advice[1]
    assert one.spending.tokens.value == 100_000
    assert one.spending.latents.value == pytest.approx(1e12 / 1e5 / (2 * D_IN), rel=0.1)
    assert one.rounded.latents <= one.spending.latents.value
    assert one.rounded.latents * 2 * D_IN * 1e5 < 1e12
    assert "Only the size was planned: every SAE of this law read 100,000 tokens" in one.notes[1]


def test_another_width_is_a_guess(lengths):
    one = advice_of(lengths, Request(compute=1e12, d_in=64))[0][0]
    assert one.costs.shape.d_in == 64
    assert one.notes[-1] == "The law is of rows of width 32; that it holds at 64 is a guess."


def test_too_few_saes_are_no_law(tmp_path):
    run = write_suite(tmp_path / "run", sizes=(32, 64), ks=(4,))
    with pytest.raises(UserError, match=r"there is no law to plan by: topk k=4: the law latents has 3 constants"):
        advice_of([run], Request(compute=1e12))


def test_one_sparsity_with_too_few_is_named_beside_advice_for_another(tmp_path):
    run = write_suite(tmp_path / "run", ks=(2,))
    write_suite(tmp_path / "more", sizes=(32, 64), ks=(4,))
    advice, refused = advice_of([run, tmp_path / "more"], Request(compute=1e12))
    assert [one.sparsity for one in advice] == ["k=2"] and refused[0].startswith("topk k=4: the law latents")


def test_a_budget_that_pays_for_nothing_is_refused(one_length):
    with pytest.raises(UserError, match="1e\\+03 FLOPs do not pay for the smallest SAE on 100,000 tokens"):
        advice_of([one_length], Request(compute=1e3))


def test_a_model_that_is_not_there_is_not_counted_and_that_is_said(lengths):
    planned = plan_by_runs(lengths, Request(compute=1e12), None)
    assert any(note.startswith("The language model's forward is not counted: ") for note in planned.facts["notes"])
    given = plan_by_runs(lengths, Request(compute=1e12), 5e5)
    assert given.facts["advice"][0]["flops_per_token"]["model"] == 5e5
    assert not any("not counted" in note for note in given.facts["notes"])


def test_what_is_printed(lengths, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    runs = [word for run in lengths for word in ("--run", str(run))]
    assert exit_code(["plan", "--compute", "1e12", *runs, "--model-flops", "0", "--sizes", "3"]) == 0
    printed = capsys.readouterr().out
    assert f"{HOOKPOINT} of a/model  1e+12 FLOPs" in printed and "3 SAEs on one stream" in printed
    assert "topk k=4" in printed and "This extrapolates" in printed and "by the law tokens of 12 SAEs" in printed


def test_json_is_all_that_is_printed_where_it_is_wanted(lengths, capsys):
    runs = [word for run in lengths for word in ("--run", str(run))]
    assert exit_code(["plan", "--compute", "1e12", *runs, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    advice = facts["advice"][0]
    assert facts["compute"] == 1e12 and advice["knows_tokens"] and advice["law"]["name"] == "tokens"
    assert advice["best"]["num_latents"]["low"] <= advice["best"]["num_latents"]["value"]
    assert {"num_latents", "tokens", "fvu", "notes", "sparsity"} <= advice.keys()


def test_without_runs_costs_are_told(capsys):
    assert exit_code(["plan", "--compute", "1e18", "--d-in", "768", "--tokens", "5e8", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    row = next(one for one in facts["costs"] if one["num_latents"] == 65536)
    assert row["flops_per_token"] == 2 * 768 * 65536 + 8 * 64 * 768 and row["tokens"] == 5e8
    assert facts["widest"] * 2 * 768 * 5e8 == pytest.approx(1e18, rel=0.1)
    assert exit_code(["plan", "--compute", "1e18", "--d-in", "768"]) == 0
    assert "only a law can tell: give --run" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--compute", "1e18"], "plan needs --run RUN, for a law, or --d-in N, for costs alone"),
        (["--compute", "-1", "--d-in", "64"], "--compute must be above 0 and finite, got -1.0"),
        (["--compute", "inf", "--d-in", "64"], "--compute must be above 0 and finite, got inf"),
        (["--compute", "1e9", "--d-in", "64", "--tokens", "0"], "--tokens must be above 0 and finite, got 0.0"),
    ],
)
def test_what_is_wrong_is_a_sentence(options, sentence, capsys):
    assert exit_code(["plan", *options]) == 2
    assert sentence in capsys.readouterr().err
