"""Training metrics as sums that merge: over batches, blocks, processes. Summed in float64.

FVU is a ratio of sums about the mean of the rows, never a mean of ratios:
sum ||e||^2 / (sum ||x||^2 - ||sum x||^2 / n).
"""

from collections import Counter, deque
from dataclasses import dataclass

import torch
from torch import Tensor

NUM_BUCKETS = 16
ROUNDING = 1e-12
"""A smaller share of the rows' squares is no variance but float64's rounding."""


@dataclass(frozen=True)
class Sums:
    """Sums over some rows; `+` gives those of both."""

    rows: int
    x_sum: Tensor
    """[d_in], float64."""
    x_square: float
    error_square: float
    active: float
    """Active latents."""
    losses: dict[str, float]
    """Each loss times its batch's rows."""

    @classmethod
    def none(cls, d_in: int) -> "Sums":
        """Of no rows."""
        return cls(0, torch.zeros(d_in, dtype=torch.float64), 0.0, 0.0, 0.0, {})

    @classmethod
    def of(cls, x: Tensor, error: Tensor, l0: float, losses: dict[str, float]) -> "Sums":
        """Of one batch: x and error [rows, d_in], mean active latents, mean losses."""
        rows, wide = len(x), x.double()
        weighted = {name: value * rows for name, value in losses.items()}
        found = torch.cat([wide.sum(0), torch.stack([_square(wide), _square(error.double())])]).cpu()
        return cls(rows, found[:-2], found[-2].item(), found[-1].item(), l0 * rows, weighted)

    def __add__(self, other: "Sums") -> "Sums":
        losses = Counter(self.losses)
        losses.update(other.losses)
        return Sums(
            self.rows + other.rows,
            self.x_sum + other.x_sum,
            self.x_square + other.x_square,
            self.error_square + other.error_square,
            self.active + other.active,
            dict(losses),
        )

    @property
    def fvu(self) -> float | None:
        """Fraction of variance unexplained: 0 is perfect, 1 no better than the mean; None without variance."""
        if self.rows == 0:
            return None
        variance = self.x_square - self.x_sum.square().sum().item() / self.rows
        return self.error_square / variance if variance > ROUNDING * self.x_square else None

    @property
    def l0(self) -> float | None:
        """Mean active latents of a row."""
        return self.active / self.rows if self.rows else None

    @property
    def mean_losses(self) -> dict[str, float]:
        """Each loss's mean over rows."""
        return {name: value / self.rows for name, value in self.losses.items()}


def _square(values: Tensor) -> Tensor:
    """The sum of squares."""
    flat = values.reshape(-1)
    return torch.dot(flat, flat)


class Window:
    """The sums over about the last `rows` rows: whole blocks, in at most `NUM_BUCKETS` buckets and one that fills."""

    def __init__(self, rows: int, d_in: int) -> None:
        self.bucket_rows = max(1, rows // NUM_BUCKETS)
        self.full: deque[Sums] = deque(maxlen=NUM_BUCKETS)
        self.filling = Sums.none(d_in)

    def add(self, block: Sums) -> None:
        """Takes in a block; the oldest bucket goes when there are too many."""
        self.filling += block
        if self.filling.rows >= self.bucket_rows:
            self.full.append(self.filling)
            self.filling = Sums.none(len(block.x_sum))

    def total(self) -> Sums:
        """Over the whole window."""
        return sum(self.full, self.filling)
