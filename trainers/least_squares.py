"""Many small nonlinear least-squares problems at once: Levenberg-Marquardt within bounds, robust if wanted.

scipy's `least_squares` solves one at a time, 5 to 20 ms each; a law with its bootstrap is hundreds of them, and takes
0.1 to 0.3 s here (one core, 2026-11).
B problems, P points, N numbers to find in each.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Model = Callable[[Floats], tuple[Floats, Floats]]
"""Numbers [B, N] -> values [B, P] and their gradient [B, P, N]."""
MAX_STEPS = 300
ENOUGH = 1e-12
"""A step that makes the cost less by a smaller share than this is the last."""
DAMPING = 1e-3
LEAST_DAMPING = 1e-10
"""Relative to a curvature whose diagonal is 1, so that it can always be inverted."""
TINY = 1e-30
LARGEST_DAMPING = 1e9
"""Beyond this no step helps: the minimum is found as well as float64 has it."""


class Problems(NamedTuple):
    """sum of weights x rho(values - targets), for every problem."""

    model: Model
    targets: Floats
    """[B, P] or [P]."""
    weights: Floats
    """[B, P] or [P]."""
    noise: float | None
    """rho(r) = r^2 where it is None, else 2 noise^2 (sqrt(1 + (r / noise)^2) - 1), linear beyond the noise."""
    low: Floats
    """[N]."""
    high: Floats


def solve(problems: Problems, starts: Floats) -> tuple[Floats, Floats]:
    """The numbers [B, N] that are best near `starts` [B, N], and their costs [B]."""
    theta = np.clip(starts, problems.low, problems.high)
    damping = np.full(len(theta), DAMPING)
    values, gradient = problems.model(theta)
    costs = _costs(problems, values)
    for _ in range(MAX_STEPS):
        trial = np.clip(theta - _steps(problems, theta, values, gradient, damping), problems.low, problems.high)
        trial_values, trial_gradient = problems.model(trial)
        trial_costs = _costs(problems, trial_values)
        better = trial_costs < costs
        is_done = np.where(better, costs - trial_costs <= ENOUGH * costs, damping >= LARGEST_DAMPING)
        theta, values = np.where(better[:, None], trial, theta), np.where(better[:, None], trial_values, values)
        gradient = np.where(better[:, None, None], trial_gradient, gradient)
        costs, damping = np.where(better, trial_costs, costs), np.where(better, damping / 5, damping * 4)
        if is_done.all():
            break
    return theta, costs


def _costs(problems: Problems, values: Floats) -> Floats:
    squares = np.square(values - problems.targets)
    if problems.noise is not None:
        squares = 2 * problems.noise**2 * (np.sqrt(1 + squares / problems.noise**2) - 1)
    costs: Floats = (problems.weights * squares).sum(axis=1)
    return costs


def _steps(problems: Problems, theta: Floats, values: Floats, gradient: Floats, damping: Floats) -> Floats:
    """[B, N], to be taken off; numbers that the bounds hold back stay."""
    deviations = values - problems.targets
    weights = np.broadcast_to(problems.weights, deviations.shape)
    if problems.noise is not None:
        weights = weights / np.sqrt(1 + np.square(deviations / problems.noise))
    slopes = np.einsum("bpn,bp->bn", gradient, weights * deviations)
    is_free = ~((theta <= problems.low) & (slopes > 0) | (theta >= problems.high) & (slopes < 0))
    curvature = np.einsum("bpn,bp,bpm->bnm", gradient, weights, gradient)
    curvature *= is_free[:, :, None] & is_free[:, None, :]
    scale = 1 / np.sqrt(np.maximum(np.diagonal(curvature, axis1=1, axis2=2), TINY))
    curvature *= scale[:, :, None] * scale[:, None, :]
    at = range(theta.shape[1])
    curvature[:, at, at] = 1 + np.maximum(damping, LEAST_DAMPING)[:, None]
    found: Floats = np.linalg.solve(curvature, (slopes * is_free * scale)[:, :, None])[:, :, 0]
    return found * scale
