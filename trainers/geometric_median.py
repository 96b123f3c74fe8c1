"""The point with the least total distance to some rows: where TopK's decoder bias starts."""

import torch
from torch import Tensor

MAX_ROWS = 32_768
MAX_ITERATIONS = 100
TOLERANCE = 1e-6
"""Relative change of the total distance below which the iteration stops."""


def geometric_median(rows: Tensor) -> Tensor:
    """Weiszfeld's iteration from the mean: m <- sum(x / ||x - m||) / sum(1 / ||x - m||).

    Args:
        rows: [rows, d_in] float32; the first `MAX_ROWS` are used.
    Returns:
        [d_in] float32.
    """
    rows = rows[:MAX_ROWS]
    median = rows.mean(0)
    total = float("inf")
    for _ in range(MAX_ITERATIONS):
        distances = torch.linalg.vector_norm(rows - median, dim=1)
        previous, total = total, distances.sum(dtype=torch.float64).item()
        if previous - total <= TOLERANCE * total:
            break
        weights = distances.clamp(min=1e-12).reciprocal()
        median = (weights @ rows) / weights.sum()
    return median
