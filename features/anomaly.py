"""How unlike the text that was collected from a text is, token by token: one of the uses that SAEs are trained for.

A token is odd where the SAE reconstructs it badly, or where latents fire that fire rarely. Both are held against the
tokens of ordinary text: the surprise of a value is -log10 of the share of ordinary tokens that are at least as odd, so
that ordinary text has a mean of about 0.43 (1 / ln 10) in each.
"""

from typing import NamedTuple

import numpy as np


class Oddness(NamedTuple):
    """Of n tokens, [n] each."""

    error: np.ndarray
    """||x - recon||^2, in any unit."""
    rarity: np.ndarray
    """-log10 of the density of the latents that fire, weighed by their activations."""


class Surprise(NamedTuple):
    """Of n tokens, [n] each."""

    error: np.ndarray
    rarity: np.ndarray

    @property
    def score(self) -> float:
        """The mean over tokens of the greater of the two; 0.64 for ordinary text if the two were independent."""
        return float(np.maximum(self.error, self.rarity).mean()) if len(self.error) else 0.0


def rareness(density: np.ndarray, rows: int) -> np.ndarray:
    """-log10 of densities [L] over `rows` rows; what never fired on them counts as firing on half a row."""
    return -np.log10(np.maximum(density, 0.5 / max(1, rows)))


def rarity(acts: np.ndarray, rare: np.ndarray) -> np.ndarray:
    """float64 [n], of activations [n, L] and the rareness [L] of latents; 0 where nothing fires."""
    total = acts.sum(1)
    return (acts @ rare) / np.where(total > 0, total, 1)


def surprise(found: Oddness, ordinary: Oddness) -> Surprise:
    """How odd `found` is among `ordinary` tokens."""
    return Surprise(*(_surprise(mine, theirs) for mine, theirs in zip(found, ordinary, strict=True)))


def _surprise(values: np.ndarray, ordinary: np.ndarray) -> np.ndarray:
    """A value that is beyond all ordinary ones counts as one in so many and one."""
    at_least = len(ordinary) - np.searchsorted(np.sort(ordinary), values, side="left")
    return -np.log10((at_least + 1) / (len(ordinary) + 1))
