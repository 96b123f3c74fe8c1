"""Activations whose features are known: rows are sparse sums of fixed directions, so what an SAE finds can be told.

x = acts directions + bias. A feature's size where it fires is ReLU(mean + std noise), means falling from 5 to 4,
stds |N(1/2, 1/2)|. The generators are our own; what they imitate, and their figures, are SynthSAEBench's
(arXiv:2602.14687) and HoagyC's `replicate_toy_models.py`. Rows are a function of seed and number of the draw alone.
"""

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
from scipy.special import ndtri

Array = np.ndarray
SPREAD_STEPS = 200
FIRST_MEAN, LAST_MEAN = 5.0, 4.0
STD_MEAN = STD_STD = 0.5
MEASURED_ROWS = 20_000


class Draw(NamedTuple):
    """Some rows and the truth about them."""

    acts: Array
    """[rows, num_features] float32, at least 0."""
    x: Array
    """[rows, d_in] float32."""


@dataclass(frozen=True)
class Truth:
    """A known dictionary and how its features fire; the first thing that decides is the copula, then the trees."""

    name: str
    directions: Array
    """[num_features, d_in] float32, rows of length one."""
    rates: Array
    """[num_features] float64: how often each feature fires, before siblings exclude each other."""
    parents: Array | None = None
    """int [num_features]: a feature fires only with its parent, which comes before it; -1: none. Siblings exclude
    each other, and a child is the larger the larger its parent is."""
    loadings: Array | None = None
    """[num_features, factors]: features that share a factor fire together (Gaussian copula); squares sum to below 1."""
    bias: Array | None = None
    """[d_in] float32."""
    exactly: int = 0
    """So many features fire on each row, all equally often, instead of by `rates`: what TopK's k takes for granted."""
    seed: int = 0

    @property
    def num_features(self) -> int:
        return len(self.directions)

    @property
    def d_in(self) -> int:
        return self.directions.shape[1]

    def draw(self, number: int, rows: int) -> Draw:
        """Draw `number`, of `rows` rows; the same numbers give the same rows."""
        generator = np.random.default_rng([self.seed, 2, number])
        fires = self._fires(generator, rows)
        where = np.nonzero(fires)
        sizes = self._means[where[1]] + self._stds[where[1]] * generator.standard_normal(len(where[1]))
        acts = np.zeros(fires.shape)
        acts[where] = np.maximum(sizes, 0.0)
        if self.parents is not None:
            self._obey_parents(acts, generator)
        acts = acts.astype(np.float32)
        x = acts @ self.directions
        return Draw(acts, x if self.bias is None else x + self.bias)

    def elsewhere(self, seed: int) -> "Truth":
        """The same features at the same time in other directions: what another hookpoint may show of them."""
        return replace(self, directions=directions(self.num_features, self.d_in, seed))

    @cached_property
    def chains(self) -> Array:
        """[num_features, d_in] float32: each feature together with those it never fires without.

        What a sparse loss asks for: one latent for a feature and its parent is sparser than two. They are the
        directions where there are no parents.
        """
        found = self.directions.astype(np.float64)
        if self.parents is not None:
            for child in np.flatnonzero(self.parents >= 0):
                found[child] += found[self.parents[child]]
        return found.astype(np.float32)

    @cached_property
    def active(self) -> float:
        """Features that fire on a row, in the mean of some."""
        return np.count_nonzero(self.draw(0, MEASURED_ROWS).acts) / MEASURED_ROWS

    @cached_property
    def _means(self) -> Array:
        return np.linspace(FIRST_MEAN, LAST_MEAN, self.num_features)

    @cached_property
    def _stds(self) -> Array:
        return np.abs(np.random.default_rng([self.seed, 1]).normal(STD_MEAN, STD_STD, self.num_features))

    @cached_property
    def _conditional_rates(self) -> Array:
        """How often each feature fires, given that its parent does."""
        if self.parents is None:
            return self.rates
        of_parents = np.where(self.parents >= 0, self.rates[self.parents], 1.0)
        return np.minimum(self.rates / of_parents, 1 - 1e-9)

    def _fires(self, generator: np.random.Generator, rows: int) -> Array:
        """[rows, num_features] bool, before parents and siblings are heard."""
        if self.exactly:
            lots = generator.random((rows, self.num_features), np.float32)
            return lots <= np.partition(lots, self.exactly - 1, axis=1)[:, self.exactly - 1 : self.exactly]
        if self.loadings is None:
            return generator.random((rows, self.num_features), np.float32) < self._conditional_rates
        own = generator.standard_normal((rows, self.num_features), np.float32)
        shared = generator.standard_normal((rows, self.loadings.shape[1])) @ self.loadings.T
        levels = shared + own * np.sqrt(1 - np.square(self.loadings).sum(1))
        return levels > ndtri(1 - self._conditional_rates)

    def _obey_parents(self, acts: Array, generator: np.random.Generator) -> None:
        """Silences, in place, children whose parent is silent and all but one of siblings; scales what is left."""
        assert self.parents is not None
        for parent in np.unique(self.parents[self.parents >= 0]):
            children = np.flatnonzero(self.parents == parent)
            lots = generator.random((len(acts), len(children))) * (acts[:, children] > 0)
            chosen = (lots == lots.max(1, keepdims=True)) & (lots > 0)
            acts[:, children] *= chosen * (acts[:, [parent]] / self._means[parent])


def directions(num_features: int, d_in: int, seed: int, steps: int = SPREAD_STEPS) -> Array:
    """Random directions, pushed apart: [num_features, d_in] float32, rows of length one.

    Descent on the sum of squared cosines. Up to d_in of them come out orthogonal; more keep some overlap.
    """
    rows = np.random.default_rng([seed, 0]).standard_normal((num_features, d_in))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    rate = 0.5 * min(1.0, d_in / num_features)
    for _ in range(steps):
        cosines = rows @ rows.T
        np.fill_diagonal(cosines, 0.0)
        rows -= rate * cosines @ rows
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows.astype(np.float32)


def zipf_rates(num_features: int, exponent: float, highest: float, lowest: float) -> Array:
    """Rates that fall as rank^-exponent does, from `highest` to `lowest`."""
    falling = np.arange(1, num_features + 1) ** -exponent
    return lowest + (highest - lowest) * (falling - falling[-1]) / (falling[0] - falling[-1])


def trees(num_features: int, num_roots: int, branching: int, depth: int) -> Array:
    """Parents for `Truth`: `num_roots` trees, level by level, with `branching` children a node; the rest have none."""
    parents = np.full(num_features, -1)
    level, start = np.arange(num_roots), num_roots
    for _ in range(depth):
        children = np.arange(start, start + len(level) * branching)
        if start + len(children) > num_features:
            raise ValueError(f"{num_features} features are too few for {num_roots} trees of depth {depth}")
        parents[children] = np.repeat(level, branching)
        level, start = children, start + len(children)
    return parents


def loadings(num_features: int, num_factors: int, scale: float, seed: int) -> Array:
    """Random ones for `Truth`, each N(0, scale^2), with rows held to a length of at most 0.9."""
    found = scale * np.random.default_rng([seed, 3]).standard_normal((num_features, num_factors))
    return found / np.maximum(1.0, np.linalg.norm(found, axis=1, keepdims=True) / 0.9)


def independent(name: str, num_features: int, d_in: int, active: float, seed: int = 0) -> Truth:
    """Features that fire alike and on their own, `active` of them on a row in the mean."""
    return Truth(name, directions(num_features, d_in, seed), np.full(num_features, active / num_features), seed=seed)


def exact(name: str, num_features: int, d_in: int, active: int, seed: int = 0) -> Truth:
    """Features that fire alike, `active` of them on every row."""
    rates = np.full(num_features, active / num_features)
    return Truth(name, directions(num_features, d_in, seed), rates, exactly=active, seed=seed)


def zipf(num_features: int, d_in: int, active: float, seed: int = 0) -> Truth:
    """The n-th feature fires n^-1/2 times as often as the first."""
    falling = np.arange(1, num_features + 1) ** -0.5
    rates = np.minimum(active * falling / falling.sum(), 0.5)
    return Truth("zipf", directions(num_features, d_in, seed), rates, seed=seed)


def hierarchical(num_features: int, d_in: int, active: float, seed: int = 0) -> Truth:
    """Trees of a root, two children, and two more under each: a parent's children share its rate."""
    num_roots = num_features // 7
    parents = trees(num_features, num_roots, 2, 2)
    alone = (parents < 0) & (np.arange(num_features) >= num_roots)
    rates = np.empty(num_features)
    rates[parents < 0] = active / (3 * num_roots + alone.sum())
    for child in np.flatnonzero(parents >= 0):
        rates[child] = rates[parents[child]] / 2
    return Truth("hierarchical", directions(num_features, d_in, seed), rates, parents=parents, seed=seed)


def correlated(num_features: int, d_in: int, active: float, seed: int = 0, strength: float = 0.5) -> Truth:
    """Features that fire alike but not on their own: a Gaussian copula with a few factors.

    Args:
        strength: what share of a feature's level the factors decide, as a standard deviation; SynthSAEBench's is 0.5.
    """
    num_factors = max(2, num_features // 32)
    return Truth(
        "correlated",
        directions(num_features, d_in, seed),
        np.full(num_features, active / num_features),
        loadings=loadings(num_features, num_factors, strength / math.sqrt(num_factors), seed),
        seed=seed,
    )


def all_at_once(num_features: int, d_in: int, seed: int = 42) -> Truth:
    """SynthSAEBench's mixture: Zipf rates, trees, copula, superposition and a bias, at any size."""
    bias = np.random.default_rng([seed, 4]).standard_normal(d_in)
    rates = zipf_rates(num_features, 0.5, 0.4, 5e-4)
    num_roots = max(1, num_features // 128)
    parents = trees(num_features, num_roots, 4, 3)
    for child in np.flatnonzero(parents >= 0):
        rates[child] = min(rates[child], rates[parents[child]])
    return Truth(
        "all at once",
        directions(num_features, d_in, seed, steps=100),
        rates,
        parents=parents,
        loadings=loadings(num_features, 25, 0.1, seed),
        bias=(0.5 * bias / np.linalg.norm(bias)).astype(np.float32),
        seed=seed,
    )
