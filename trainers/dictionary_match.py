"""What two dictionaries share: mean greatest cosines, pairs, latents that split, latents without a counterpart.

MMCS from A to B is the mean over A's latents of the greatest cosine with one of B's, with its sign; it depends on the
direction. MCC is the mean size of the cosine over one-to-one pairs. A latent splits where several of the other
dictionary have it as their nearest, at `same` or more; it has no counterpart where nothing reaches `same`.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from trainers.latent_matching import Matches, mutual_pairs, nearest_both_ways, one_to_one, unit_rows

SAME = 0.7
"""Cosine from which two latents count as one, as where Leask et al. 2025 (arXiv:2502.04878) part novel latents from
others."""
EXACT_WORK = 2**38
"""smaller^2 x larger up to which pairs are assigned exactly: 4,096 x 16,384 took 8 to 12 s on one core (2026-11)."""
EXACT_COSINES = 2**26
"""Cosines up to which they are: about 1.5 GiB, since scipy takes them as float64, twice."""


@dataclass(frozen=True)
class DictionaryMatch:
    """Two dictionaries, latent by latent; `first` and `second` are their nearest latents in the other."""

    first: Matches
    second: Matches
    pairs: Matches
    """One to one, by the size of the cosine; cosines have their sign."""
    is_exact: bool
    """The pairs have the greatest sum there is; else they are mutual nearest ones, and some latents may have none."""
    d: int
    """Width of a direction."""

    @property
    def mmcs(self) -> tuple[float, float]:
        """From the first to the second, and back."""
        return _mean(self.first.cosines), _mean(self.second.cosines)

    @property
    def mcc(self) -> float:
        """Mean size of the pairs' cosines; a latent of the smaller dictionary that has no pair counts as 0."""
        smaller = min(len(self.first.rows), len(self.second.rows))
        return self.pairs.cosines.abs().sum(dtype=torch.float64).item() / smaller

    @property
    def chance(self) -> tuple[float, float]:
        """What the greatest cosines would be by chance: of the first's latents, of the second's."""
        return chance_cosine(len(self.second.rows), self.d), chance_cosine(len(self.first.rows), self.d)


@dataclass(frozen=True)
class Splits:
    """Latents of one dictionary that several of the other have as their nearest."""

    latents: Tensor
    """int64 [splits], most children first."""
    children: list[Tensor]
    """Of each, int64, nearest first."""
    cosines: list[Tensor]
    """Of each child with its latent."""


def match_dictionaries(first: Tensor, second: Tensor) -> DictionaryMatch:
    """Matches the directions of two dictionaries, [n, d] and [m, d] in one dtype, of any length.

    Memory beyond theirs is bounded (`trainers.latent_matching`), but for one-to-one pairs as far as EXACT_COSINES goes.
    """
    ours, theirs = nearest_both_ways(first, second)
    is_exact = is_assigned_exactly(len(first), len(second))
    found = (one_to_one if is_exact else mutual_pairs)(first, second, either_sign=True)
    signed = (unit_rows(first[found.rows]) * unit_rows(second[found.columns])).sum(dim=1)
    pairs = Matches(found.rows, found.columns, signed)
    ours, theirs, pairs = (Matches(*(part.cpu() for part in one)) for one in (ours, theirs, pairs))
    return DictionaryMatch(ours, theirs, pairs, is_exact, first.shape[1])


def chance_cosine(num_latents: int, d: int) -> float:
    """About the greatest cosine of one direction with so many random ones, sqrt(2 ln m / d), at most 1."""
    return min(1.0, math.sqrt(2 * math.log(num_latents) / d))


def is_assigned_exactly(first: int, second: int) -> bool:
    """Whether dictionaries of so many latents are few enough for the Hungarian method."""
    smaller, larger = sorted((first, second))
    return smaller**2 * larger <= EXACT_WORK and first * second <= EXACT_COSINES


def splits(children: Matches, same: float = SAME) -> Splits:
    """Latents that at least two `children` have as their nearest at `same` or more."""
    near = children.cosines >= same
    parents, rows, cosines = children.columns[near], children.rows[near], children.cosines[near]
    order = torch.argsort(cosines, descending=True, stable=True)
    order = order[torch.argsort(parents[order], stable=True)]
    latents, counts = torch.unique_consecutive(parents[order], return_counts=True)
    groups = zip(rows[order].split(counts.tolist()), cosines[order].split(counts.tolist()), strict=True)
    found = list(groups)
    several = [at for at in torch.argsort(counts, descending=True, stable=True).tolist() if counts[at] > 1]
    return Splits(latents[several], [found[at][0] for at in several], [found[at][1] for at in several])


def without_counterpart(matches: Matches, same: float = SAME) -> Tensor:
    """int64: the latents that nothing in the other dictionary is like."""
    return matches.rows[matches.cosines < same]


def _mean(values: Tensor) -> float:
    return values.mean(dtype=torch.float64).item()
