"""How much worse an SAE's reconstruction would be without each of its latents, measured on some of the rows.

Without latent l, whose activation on a row is a, the error e = y - recon becomes e + a w_l, so that its square grows by
2 a <e, w_l> + a^2 |w_l|^2. The share of FVU is that growth, summed over rows, over sum |y - mean y|^2. It may be below
0: a latent that does harm.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np


class RowErrors(NamedTuple):
    """Of some rows, N activations on them."""

    rows: int
    latents: np.ndarray
    """int32 [N]"""
    rises: np.ndarray
    """float64 [N]: by how much the row's squared error grows without that latent."""
    y_sum: np.ndarray
    """float64 [D]"""
    y_square_sum: float


@dataclass
class AblationSums:
    """Sums over rows; those of parts add up to the whole's."""

    rows: int
    fired: np.ndarray
    """int64 [L]: on how many of these rows."""
    rises: np.ndarray
    """float64 [L]"""
    y_sum: np.ndarray
    """float64 [D]"""
    y_square_sum: float

    @classmethod
    def none(cls, num_latents: int, d_out: int) -> "AblationSums":
        return cls(0, np.zeros(num_latents, np.int64), np.zeros(num_latents), np.zeros(d_out), 0.0)

    def add(self, errors: RowErrors) -> None:
        self.rows += errors.rows
        np.add.at(self.fired, errors.latents, 1)
        np.add.at(self.rises, errors.latents, errors.rises)
        self.y_sum += errors.y_sum
        self.y_square_sum += errors.y_square_sum

    def merge(self, other: "AblationSums") -> None:
        self.rows += other.rows
        self.fired += other.fired
        self.rises += other.rises
        self.y_sum += other.y_sum
        self.y_square_sum += other.y_square_sum

    def fvu_share(self, density: np.ndarray) -> np.ndarray:
        """float64 [L]: the mean rise on a row where it fires, times `density` [L] over all rows, over the variance.

        nan where a latent fires on none of these rows, but does on others; 0 where it never does.
        """
        if self.rows == 0:
            return np.where(density > 0, np.nan, 0.0)
        mean = self.y_sum / self.rows
        variance = self.y_square_sum / self.rows - float(mean @ mean)
        with np.errstate(divide="ignore", invalid="ignore"):
            share = self.rises / self.fired * density / variance
        return np.where(density > 0, share, 0.0)
