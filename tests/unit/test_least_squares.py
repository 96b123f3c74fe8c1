"""Many problems at once have the minima that scipy finds one by one."""

import numpy as np
import pytest
from scipy.optimize import least_squares

from trainers.least_squares import Problems, solve

X = np.linspace(0.0, 3.0, 12)
LOW, HIGH = np.array([-5.0, -5.0, 0.0]), np.array([5.0, 5.0, 0.3])


def model(theta):
    """a exp(b x) + c."""
    a, b, c = (part[:, None] for part in theta.T)
    curve = np.exp(b * X)
    return a * curve + c, np.stack([curve, a * X * curve, np.ones_like(curve)], axis=-1)


def some_problems(noise, num_problems=20):
    """Some with an outlier, some whose best c lies beyond its bound."""
    generator = np.random.default_rng(0)
    truth = np.stack([generator.uniform(1, 2, num_problems), generator.uniform(-1, -0.2, num_problems)], axis=1)
    truth = np.column_stack([truth, generator.uniform(-0.1, 0.5, num_problems)])
    targets = model(truth)[0] + 0.02 * generator.standard_normal((num_problems, len(X)))
    targets[::3, 4] += 0.8
    weights = generator.uniform(0.5, 2, (num_problems, len(X)))
    return Problems(model, targets, weights, noise, LOW, HIGH), truth


@pytest.mark.parametrize("noise", [None, 0.02])
def test_minima_are_those_of_scipy(noise):
    problems, _ = some_problems(noise)
    starts = np.tile([0.5, -0.1, 0.1], (len(problems.targets), 1))
    found, costs = solve(problems, starts)
    on_bound = 0
    for at, (target, weights) in enumerate(zip(problems.targets, problems.weights, strict=True)):
        theirs = least_squares(
            lambda theta, target=target, weights=weights: _residuals(model(theta[None])[0][0] - target, weights, noise),
            starts[at],
            bounds=(LOW, HIGH),
            xtol=1e-12,
            ftol=1e-12,
            gtol=1e-12,
        )
        assert costs[at] == pytest.approx(2 * theirs.cost, rel=1e-6)
        assert found[at] == pytest.approx(theirs.x, abs=1e-4)
        on_bound += bool(found[at, 2] in (LOW[2], HIGH[2]))
    assert on_bound > 3


def _residuals(deviations, weights, noise):
    """Whose squares are what is minimised."""
    if noise is None:
        return np.sqrt(weights) * deviations
    return np.sqrt(weights * 2 * noise**2 * (np.sqrt(1 + (deviations / noise) ** 2) - 1))


def test_an_outlier_moves_a_robust_fit_less():
    apart = {}
    for noise in (None, 0.02):
        problems, truth = some_problems(noise)
        found, _ = solve(problems, np.tile([0.5, -0.1, 0.1], (len(truth), 1)))
        apart[noise] = np.abs(found[::3, :2] - truth[::3, :2]).mean()
    assert apart[0.02] < apart[None] / 2


def test_a_problem_without_slope_stays_where_it_starts():
    flat = Problems(
        lambda theta: (np.zeros((len(theta), 4)), np.zeros((len(theta), 4, 2))),
        np.ones(4),
        np.ones(4),
        None,
        np.full(2, -1.0),
        np.ones(2),
    )
    found, costs = solve(flat, np.array([[0.3, -0.2], [9.0, 0.0]]))
    assert found.tolist() == [[0.3, -0.2], [1.0, 0.0]] and costs.tolist() == [4.0, 4.0]
