"""Laws fitted to suites that were made by a law: its constants come back, and intervals hold what they should."""

import math
from dataclasses import replace

import numpy as np
import pytest

from shared.errors import UserError
from trainers.law_fit import fit_law
from trainers.scaling_law import BY_COMPUTE, BY_LATENTS, JOINT, JOINT_TOKENS, TOKENS, Points

POWER = {"a": 0.05, "b": 2.0, "c": 0.3}
GAO = {"alpha": -0.50, "beta_k": 0.26, "beta_n": -0.017, "gamma": -0.042, "zeta": -1.32, "eta": -0.085}
HOFFMANN = {"e": 0.05, "a": 2.0, "alpha": 0.3, "b": 30.0, "beta": 0.35}


def power(points):
    return POWER["a"] + POWER["b"] * points.latents ** -POWER["c"]


def gao(points):
    k, n = np.log(points.active), np.log(points.latents)
    first = GAO["alpha"] + GAO["beta_k"] * k + GAO["beta_n"] * n + GAO["gamma"] * k * n
    return np.exp(first) + np.exp(GAO["zeta"] + GAO["eta"] * k)


def hoffmann(points):
    few = HOFFMANN["b"] * points.tokens ** -HOFFMANN["beta"]
    return HOFFMANN["e"] + HOFFMANN["a"] * points.latents ** -HOFFMANN["alpha"] + few


def too_few_tokens(points):
    k, n, D = np.log(points.active), np.log(points.latents), np.log(points.tokens)
    return gao(points) + np.exp(1 - 0.1 * k + 0.2 * n - 0.35 * D)


def suite(law, latents=(2.0**12,), active=(32.0,), tokens=(1e8,), noise=0.0, seed=0):
    """Every combination, with the loss that `law` gives and relative noise."""
    n, k, D = (part.ravel() for part in np.meshgrid(latents, active, tokens, indexing="ij"))
    points = Points(n, k, D, 2 * 768 * n * D, np.ones_like(n))
    deviation = np.random.default_rng(seed).standard_normal(len(n))
    return points._replace(loss=law(points) * np.exp(noise * deviation))


SIZES = 2.0 ** np.arange(11, 21, 2)


@pytest.mark.parametrize(
    ("form", "law", "constants", "grid"),
    [
        (BY_LATENTS, power, POWER, {"latents": SIZES}),
        (JOINT, gao, GAO, {"latents": SIZES, "active": (16.0, 32.0, 64.0, 128.0)}),
        (TOKENS, hoffmann, HOFFMANN, {"latents": SIZES, "tokens": (2e7, 8e7, 3.2e8)}),
        (
            JOINT_TOKENS,
            too_few_tokens,
            {**GAO, "tau": 1.0, "theta_k": -0.1, "theta_n": 0.2, "theta": 0.35},
            {"latents": SIZES, "active": (16.0, 32.0, 64.0), "tokens": (2e7, 8e7, 3.2e8)},
        ),
    ],
    ids=lambda one: getattr(one, "name", ""),
)
def test_constants_come_back_from_exact_losses(form, law, constants, grid):
    fit = fit_law(form, suite(law, **grid), num_draws=2)
    found = {name: one.value for name, one in fit.constants.items()}
    assert found == pytest.approx(constants, rel=0.02, abs=0.002)
    assert fit.held_out.worst < 1e-3


def test_a_law_of_compute_is_the_same_in_other_units():
    points = suite(power, latents=SIZES)
    by_compute = fit_law(BY_COMPUTE, points, num_draws=2).constants
    assert by_compute["a"].value == pytest.approx(POWER["a"], rel=0.01)
    assert by_compute["c"].value == pytest.approx(POWER["c"], rel=0.01)
    assert by_compute["b"].value == pytest.approx(POWER["b"] * (2 * 768 * 1e8) ** POWER["c"], rel=0.05)


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    """Nine in ten; of 20 independent suites, fewer than 14 would come up once in 400 times."""
    held = {"b": 0, "c": 0, "four times as wide": 0}
    for seed in range(20):
        points = suite(power, latents=2.0 ** np.arange(10, 18), noise=0.01, seed=seed)
        fit = fit_law(BY_LATENTS, points, num_draws=40, seed=seed)
        for name in ("b", "c"):
            held[name] += fit.constants[name].low <= POWER[name] <= fit.constants[name].high
        beyond = suite(power, latents=(2.0**19,))
        at = {"latents": beyond.latents}
        held["four times as wide"] += fit.foretell(at)[0].low <= beyond.loss[0] <= fit.foretell(at)[0].high
    assert min(held.values()) >= 14


def test_intervals_of_gaos_constants_cover_them():
    points = suite(gao, latents=SIZES, active=(16.0, 32.0, 64.0, 128.0), noise=0.005)
    found = fit_law(JOINT, points, num_draws=100).constants
    assert all(found[name].low <= value <= found[name].high for name, value in GAO.items())
    assert all(one.low < one.value < one.high for one in found.values())


def test_one_sae_that_went_wrong_does_not_bend_the_law():
    clean = suite(power, latents=2.0 ** np.arange(10, 20), noise=0.002)
    broken = clean._replace(loss=np.where(clean.latents == 2**14, 1.6 * clean.loss, clean.loss))
    found = fit_law(BY_LATENTS, broken, num_draws=2)
    assert found.constants["c"].value == pytest.approx(POWER["c"], rel=0.05)
    assert found.held_out.worst > 0.3 and found.held_out.median < 0.02


def test_the_largest_size_is_foretold_from_the_others():
    points = suite(power, latents=2.0 ** np.arange(10, 18))
    assert fit_law(BY_LATENTS, points, num_draws=2).held_out.largest == pytest.approx(0, abs=1e-3)
    worse = points._replace(loss=np.where(points.latents == points.latents.max(), 1.1 * points.loss, points.loss))
    assert fit_law(BY_LATENTS, worse, num_draws=2).held_out.largest == pytest.approx(1 / 1.1 - 1, abs=0.01)
    few = fit_law(BY_LATENTS, suite(power, latents=2.0 ** np.arange(10, 14)), num_draws=2)
    assert few.held_out.largest is None


def test_the_same_suite_gives_the_same_numbers():
    points = suite(power, latents=SIZES, noise=0.01)
    first, second = (fit_law(BY_LATENTS, points, num_draws=5) for _ in range(2))
    assert np.array_equal(first.theta, second.theta) and np.array_equal(first.draws, second.draws)
    assert not np.array_equal(first.draws, fit_law(BY_LATENTS, points, num_draws=5, seed=1).draws)


def test_too_few_saes_are_refused_in_a_sentence():
    points = suite(gao, latents=(512.0, 1024.0, 2048.0), active=(16.0,))
    with pytest.raises(UserError) as refusal:
        fit_law(JOINT, points)
    assert str(refusal.value) == (
        "the law joint has 6 constants and needs at least 8 SAEs with 3 numbers of latents and 3 sparsities; "
        "here are 3 with 3 numbers of latents and 1 sparsity"
    )


def test_an_l0_that_was_measured_is_no_other_sparsity():
    points = suite(gao, latents=SIZES, active=(16.0, 16.2, 32.0))
    with pytest.raises(UserError, match="5 numbers of latents and 2 sparsities"):
        fit_law(JOINT, points)


def test_a_loss_that_does_not_fall_is_no_reason_to_break():
    points = suite(power, latents=SIZES)
    flat = fit_law(BY_LATENTS, points._replace(loss=np.full(len(SIZES), 0.2)), num_draws=5)
    assert flat.loss({"latents": SIZES}) == pytest.approx(0.2, rel=1e-3)
    rising = fit_law(BY_LATENTS, points._replace(loss=points.latents**0.1), num_draws=5)
    assert math.isfinite(rising.held_out.worst) and rising.constants["c"].value >= 0
    assert replace(rising, form=BY_LATENTS).constants.keys() == {"a", "b", "c"}
