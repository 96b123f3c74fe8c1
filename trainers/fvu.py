"""Training metrics as sums that merge: over batches, blocks, processes. Summed in float64.

FVU is a ratio of sums about the mean of the rows, never a mean of ratios:
sum ||e||^2 / (sum ||x||^2 - ||sum x||^2 / n).
"""

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

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
    def of(cls, x: Tensor, error: Tensor, l0: float | Tensor, losses: Mapping[str, float | Tensor]) -> "Sums":
        """Of one batch: x and error [rows, d_in], mean active latents, mean losses."""
        return cls.of_batches([BatchNumbers.of(x, error, l0, losses)])[0]

    @classmethod
    def of_batches(cls, batches: "Sequence[BatchNumbers]") -> "list[Sums]":
        """Of each of several batches; waits for a GPU once."""
        if not batches:
            return []
        return list(map(cls._of_numbers, batches, torch.stack([batch.numbers for batch in batches]).cpu()))

    @classmethod
    def _of_numbers(cls, batch: "BatchNumbers", numbers: Tensor) -> "Sums":
        rows, width = batch.rows, len(numbers) - 3 - len(batch.losses)
        x_square, error_square, l0, *losses = numbers[width:].tolist()
        weighted = {name: value * rows for name, value in zip(batch.losses, losses, strict=True)}
        return cls(rows, numbers[:width], x_square, error_square, l0 * rows, weighted)

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


class BatchNumbers(NamedTuple):
    """What `Sums` of one batch are made of, where the batch lies; on a GPU nobody has waited for it yet."""

    rows: int
    losses: tuple[str, ...]
    numbers: Tensor
    """float64: the sum of x, [d_in]; squares of x and error; l0; each of `losses`."""

    @classmethod
    def of(cls, x: Tensor, error: Tensor, l0: float | Tensor, losses: Mapping[str, float | Tensor]) -> "BatchNumbers":
        """x and error [rows, d_in], mean active latents, mean losses."""
        wide = x.double()
        single = (_square(wide), _square(error.double()), l0, *losses.values())
        numbers = [torch.as_tensor(number, dtype=torch.float64, device=x.device) for number in single]
        return cls(len(x), tuple(losses), torch.cat([wide.sum(0), torch.stack(numbers)]))


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
