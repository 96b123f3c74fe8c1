"""Sums over rows of each latent's activations, from which its numbers come. Sums of parts add up to the whole's."""

from dataclasses import dataclass, fields

import numpy as np

from features.codes import Codes
from features.histogram import NUM_BINS, bin_of, half_octave


@dataclass
class Moments:
    """L latents."""

    rows: int
    """Over how many rows, those where a latent is silent included."""
    fired: np.ndarray
    """int64 [L]: on how many rows the activation is above zero."""
    sums: np.ndarray
    """float64 [4, L]: of a, a^2, a^3 and a^4."""
    max_act: np.ndarray
    """float32 [L], 0 for a latent that never fired."""
    histogram: np.ndarray
    """int64 [L, NUM_BINS]: of activations above zero."""

    @classmethod
    def none(cls, num_latents: int) -> "Moments":
        return cls(
            0,
            np.zeros(num_latents, np.int64),
            np.zeros((4, num_latents)),
            np.zeros(num_latents, np.float32),
            np.zeros((num_latents, NUM_BINS), np.int64),
        )

    def add(self, codes: Codes, num_rows: int) -> None:
        """Takes in the codes, sorted by latent, of `num_rows` rows."""
        self.rows += num_rows
        if len(codes.latents) == 0:
            return
        starts = np.flatnonzero(np.diff(codes.latents, prepend=-1))
        latents = codes.latents[starts]
        self.fired[latents] += np.diff(starts, append=len(codes.latents))
        self.max_act[latents] = np.maximum(self.max_act[latents], np.maximum.reduceat(codes.values, starts))
        values = codes.values.astype(np.float64)
        power = values.copy()
        for total in self.sums:
            total[latents] += np.add.reduceat(power, starts)
            power *= values
        place = codes.latents.astype(np.int64) * NUM_BINS + bin_of(half_octave(codes.values))
        np.add.at(self.histogram.reshape(-1), place, 1)

    def merge(self, other: "Moments") -> None:
        """Takes in what another collector saw of other rows."""
        self.rows += other.rows
        for field in fields(self)[1:]:
            mine, theirs = getattr(self, field.name), getattr(other, field.name)
            np.maximum(mine, theirs, out=mine) if field.name == "max_act" else np.add(mine, theirs, out=mine)

    def mean(self, power: int) -> np.ndarray:
        """E[a^power] over all rows, float64 [L]."""
        return self.sums[power - 1] / max(1, self.rows)
