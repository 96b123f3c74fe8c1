"""Forms of law: gradients by finite differences, and constants that do not depend on where logarithms are centred."""

import numpy as np
import pytest

from trainers.scaling_law import (
    FORMS,
    JOINT,
    Points,
    design,
    distinct,
    log_loss,
    log_loss_and_gradient,
    read_constants,
    shortage,
    uncentred,
)


def logs(form, num_points=7, seed=0):
    generator = np.random.default_rng(seed)
    return {one: generator.normal(size=num_points) for one in form.variables}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_the_gradient_is_that_of_finite_differences(form):
    columns, theta = design(form, logs(form)), np.random.default_rng(1).normal(size=form.size) / 3
    steps = 1e-6 * np.eye(form.size)
    slopes = [(log_loss(form, theta + one, columns) - log_loss(form, theta - one, columns)) / 2e-6 for one in steps]
    assert log_loss_and_gradient(form, theta, columns)[1] == pytest.approx(np.stack(slopes, axis=1), abs=1e-8)


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_a_law_is_the_same_whatever_its_centre(form):
    plain, theta = logs(form), np.random.default_rng(1).normal(size=form.size) / 3
    centre = {one: float(2 + at) for at, one in enumerate(form.variables)}
    shifted = {one: values - centre[one] for one, values in plain.items()}
    expected = log_loss(form, theta, design(form, shifted))
    assert log_loss(form, uncentred(form, theta, centre), design(form, plain)) == pytest.approx(expected)


def test_constants_are_those_of_the_formula():
    constants = read_constants(
        JOINT, np.array([-0.5, 0.26, -0.017, -0.042, -1.32, -0.085]), {"active": 0, "latents": 0}
    )
    k, n = 64, 2**17
    written = np.exp(
        constants["alpha"]
        + constants["beta_k"] * np.log(k)
        + constants["beta_n"] * np.log(n)
        + constants["gamma"] * np.log(k) * np.log(n)
    ) + np.exp(constants["zeta"] + constants["eta"] * np.log(k))
    at = design(JOINT, {"active": np.log([k]), "latents": np.log([n])})
    assert np.exp(log_loss(JOINT, np.array(list(constants.values())), at))[0] == pytest.approx(written)


def test_a_constant_with_a_minus_sign_is_read_as_it_is_written():
    power = FORMS["latents"]
    theta = np.array([np.log(0.05), np.log(2.0), -0.3])
    assert read_constants(power, theta, {"latents": 0.0}) == pytest.approx({"a": 0.05, "b": 2.0, "c": 0.3})
    assert power.falls == (False, False, True)


def test_every_form_lists_a_constant_for_each_monomial():
    for form in FORMS.values():
        assert len(form.monomials) == form.size < form.min_points + 1
        for term in form.terms:
            assert all(set(one) <= {part for whole in term for part in whole} for one in term) and () in term


def test_near_values_count_once():
    assert [distinct(np.array(values)) for values in ([], [5.0], [5.0, 5.1], [5.0, 5.4], [1, 2, 4, 2.01])] == [
        0,
        1,
        1,
        2,
        3,
    ]


def test_enough_points_have_no_shortage():
    grid = [np.array(one, dtype=float) for one in zip(*[(n, k) for n in (1, 2, 4) for k in (1, 2, 4)], strict=True)]
    points = Points(*grid, *(np.ones(9) for _ in range(3)))
    assert shortage(JOINT, points) is None
    assert "here are 6 with 2 numbers of latents" in str(shortage(JOINT, points.kept(grid[0] > 1)))
