"""Fits a scaling law to the SAEs of a suite: robust least squares on ln L, and a bootstrap over the SAEs.

A suite is a small grid, and without some of its SAEs not every constant can be had; so the bootstrap does not draw SAEs
but their deviations from the law (wild bootstrap, Wu 1986), each widened by its leverage. Drawing or weighting whole
SAEs was tried: in simulated suites of 5 to 20 SAEs with 1% of noise its 90% intervals held the truth in 60 to 80% of
cases, these in 80 to 98% (100 suites each, 2026-11).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.optimize import least_squares

from shared.errors import UserError
from trainers.scaling_law import (
    Floats,
    Form,
    Points,
    Variable,
    design,
    log_loss,
    log_loss_gradient,
    read_constants,
    shortage,
)

NUM_DRAWS = 200
STARTS_PER_CONSTANT = 4
NUM_REFITS = 4
TOLERANCE = 1e-6
LEAST_NOISE = 1e-3
"""Relative noise of an FVU below which no deviation is taken for an outlier."""
LEVEL = 0.9
"""Of every interval: from the 5th percentile to the 95th."""
STEEPEST = 3.0
"""Largest exponent that is looked for; published ones are below 0.5."""
BENDING = 1.0
"""Largest number before a product of two logarithms."""
LEAST_SEEN = 0.05
"""A point hides at most the rest of its deviation."""
FAR_BELOW = 15.0
"""A term's logarithm may fall so far below that of the loss, where it has no weight."""


class Estimate(NamedTuple):
    """A number and its interval."""

    value: float
    low: float
    high: float


class HeldOut(NamedTuple):
    """How well the law foretells SAEs that it was not fitted to; relative deviations of the loss."""

    median: float
    """Over the SAEs, each foretold from all others."""
    worst: float
    largest: float | None
    """Of those with the most of the law's first variable, foretold from the rest; None where the rest is too few."""


@dataclass(frozen=True)
class LawFit:
    """A form, fitted."""

    form: Form
    points: Points
    centre: dict[Variable, float]
    """Means of the logarithms, which are taken off before fitting."""
    theta: Floats
    """[constants], for centred logarithms."""
    draws: Floats
    """[draws, constants]: the same from the bootstrap."""
    held_out: HeldOut
    spread: float
    """Relative noise: the deviation of the points from the law, robustly, for the constants fitted."""

    @property
    def constants(self) -> dict[str, Estimate]:
        """The formula's letters."""
        best = read_constants(self.form, self.theta, self.centre)
        drawn = [read_constants(self.form, one, self.centre) for one in self.draws]
        return {name: estimate(value, np.array([one[name] for one in drawn])) for name, value in best.items()}

    def loss(self, at: dict[Variable, Floats]) -> Floats:
        """L [points] at values of the law's variables."""
        return np.exp(log_loss(self.form, self.theta, self._design(at)))

    def drawn_losses(self, at: dict[Variable, Floats]) -> Floats:
        """The same from every draw, [draws, points]."""
        columns = self._design(at)
        return np.exp(np.stack([log_loss(self.form, one, columns) for one in self.draws]))

    def foretell(self, at: dict[Variable, Floats]) -> list[Estimate]:
        """L with its interval, for each point."""
        return [estimate(*both) for both in zip(self.loss(at), self.drawn_losses(at).T, strict=True)]

    def _design(self, at: dict[Variable, Floats]) -> Floats:
        return design(self.form, centred(self.form, at, self.centre))


def fit_law(form: Form, points: Points, num_draws: int = NUM_DRAWS, seed: int = 0) -> LawFit:
    """Fits `form` to `points`; the same points and seed give the same numbers.

    Raises:
        UserError: the points are too few for the form; says what it needs.
    """
    reason = shortage(form, points)
    if reason:
        raise UserError(reason)
    at = {one: points.of(one) for one in form.variables}
    centre = {one: float(np.log(values).mean()) for one, values in at.items()}
    problem = _Problem(form, design(form, centred(form, at, centre)), np.log(points.loss))
    generator = np.random.default_rng(seed)
    theta, noise = problem.search(generator)
    even = np.ones(len(points.loss))
    draws = np.stack([one.solve(theta, even, noise) for one in problem.resampled(theta, generator, num_draws)])
    return LawFit(form, points, centre, theta, draws, _held_out(problem, points, theta, noise), noise)


def estimate(value: float, drawn: Floats) -> Estimate:
    """`value` with the interval of `drawn`."""
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(float(value), float(low), float(high))


def centred(form: Form, at: dict[Variable, Floats], centre: dict[Variable, float]) -> dict[Variable, Floats]:
    return {one: np.log(at[one]) - centre[one] for one in form.variables}


@dataclass(frozen=True)
class _Problem:
    """Least squares of a form on points: residuals are relative deviations, those beyond the noise count linearly."""

    form: Form
    columns: Floats
    """[points, constants]."""
    target: Floats
    """ln L [points]."""

    def solve(self, start: Floats, weights: Floats, noise: float | None) -> Floats:
        """The constants that fit best, near `start`; plain least squares where `noise` is None."""
        roots = np.sqrt(weights)
        found = least_squares(
            lambda theta: roots * (log_loss(self.form, theta, self.columns) - self.target),
            self.inside(start),
            lambda theta: roots[:, None] * log_loss_gradient(self.form, theta, self.columns),
            bounds=self.bounds,
            x_scale="jac",
            ftol=TOLERANCE,
            xtol=TOLERANCE,
            loss="linear" if noise is None else "soft_l1",
            f_scale=1.0 if noise is None else noise,
        )
        return np.asarray(found.x)

    def search(self, generator: np.random.Generator) -> tuple[Floats, float]:
        """The best of many starts, and the noise that it leaves."""
        even = np.ones(len(self.target))
        found = [self.solve(start, even, None) for start in self._starts(generator)]
        best = min(found, key=lambda theta: float(np.abs(self.deviations(theta)).sum()))
        for _ in range(NUM_REFITS):  # plain least squares take an outlier for noise; each round sees it better
            best = self.solve(best, even, self._noise(best))
        return best, self._noise(best)

    def deviations(self, theta: Floats) -> Floats:
        """ln L of the law less that of the points."""
        return log_loss(self.form, theta, self.columns) - self.target

    def resampled(self, theta: Floats, generator: np.random.Generator, num_draws: int) -> Iterator["_Problem"]:
        """The same points with deviations of random sign and size, as large as those from `theta`.

        A point that the law leans on hides its deviation by 1 - leverage. How large the noise is, is known only as well
        as the points that are left over tell: every draw has a size of its own, as in Student's distribution.
        """
        fitted = log_loss(self.form, theta, self.columns)
        hidden = np.maximum(1 - _leverage(log_loss_gradient(self.form, theta, self.columns)), LEAST_SEEN)
        deviations, free = (self.target - fitted) / hidden, self._free
        for _ in range(num_draws):
            size = np.sqrt(free / generator.chisquare(free))
            target = fitted + size * deviations * generator.standard_normal(len(fitted))
            yield _Problem(self.form, self.columns, target)

    @property
    def bounds(self) -> tuple[Floats, Floats]:
        """Of every constant, for centred logarithms."""
        low, high = [], []
        for monomial, falls in zip(self.form.monomials, self.form.falls, strict=True):
            reach = STEEPEST if len(monomial) == 1 else BENDING
            low.append(self.target.min() - FAR_BELOW if not monomial else -reach)
            high.append(self.target.max() + 1.0 if not monomial else 0.0 if falls else reach)
        return np.array(low), np.array(high)

    def inside(self, theta: Floats) -> Floats:
        """`theta` within the bounds."""
        return np.clip(theta, *self.bounds)

    def _starts(self, generator: np.random.Generator) -> list[Floats]:
        """Terms that share the loss in many ways, with gentle exponents."""
        starts = []
        for _ in range(STARTS_PER_CONSTANT * self.form.size):
            shares = iter(generator.dirichlet(np.ones(len(self.form.terms))))
            start = [
                self.target.mean() + np.log(next(shares) + 1e-3) if not monomial else generator.uniform(-0.6, 0.1)
                for monomial in self.form.monomials
            ]
            starts.append(np.array(start) * [1.0 if len(one) < 2 else 0.1 for one in self.form.monomials])
        return starts

    def _noise(self, theta: Floats) -> float:
        """The spread of the deviations by their median, as of a normal distribution."""
        median = float(np.median(np.abs(self.deviations(theta))))
        return max(LEAST_NOISE, 1.4826 * median * np.sqrt(len(self.target) / self._free))

    @property
    def _free(self) -> int:
        """Points beyond those that the constants use up."""
        return max(1, len(self.target) - self.form.size)


def _leverage(gradient: Floats) -> Floats:
    """How much of each point's own deviation a fit takes up, 0 to 1, from d ln L / d theta [points, constants]."""
    directions, sizes, _ = np.linalg.svd(gradient, full_matrices=False)
    return np.square(directions[:, sizes > 1e-9 * sizes[0]]).sum(axis=1)


def _held_out(problem: _Problem, points: Points, theta: Floats, noise: float) -> HeldOut:
    each = []
    for at in range(len(points.loss)):
        weights = np.ones(len(points.loss))
        weights[at] = 0.0
        each.append(np.expm1(abs(problem.deviations(problem.solve(theta, weights, noise))[at])))
    return HeldOut(float(np.median(each)), float(np.max(each)), _largest(problem, points, theta, noise))


def _largest(problem: _Problem, points: Points, theta: Floats, noise: float) -> float | None:
    """The mean deviation of the points with the most of the form's first variable, foretold from the others."""
    values = points.of(next(iter(problem.form.needs)))
    rest = values < values.max() * 0.999
    if shortage(problem.form, points.kept(rest)):
        return None
    found = problem.solve(theta, rest.astype(np.float64), noise)
    return float(np.expm1(problem.deviations(found)[~rest].mean()))
