"""Normalisation of each row by its own numbers, which no weight can take in: SAELens' `constant_norm_rescale`
(to norm sqrt(d_in)) and `layer_norm`, with their constants, so that its readers compute the same.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

LAYER_NORM_EPS = 1e-5
PER_ROW = ("token_norm", "layer_norm")


class RowNorm(NamedTuple):
    """What was taken out of rows: raw = normalised * size + mean."""

    mean: Tensor | float
    size: Tensor | float

    def undo(self, rows: Tensor) -> Tensor:
        """Rows [..., d_in] in raw units."""
        return rows if isinstance(self.size, float) else rows * self.size + self.mean


def normalised(x: Tensor, normalize: str) -> tuple[Tensor, RowNorm]:
    """`x` [..., d_in] by the rule of that name, and what undoes it; rules that are not per row leave `x` as it is."""
    if normalize == "token_norm":
        norms = torch.linalg.vector_norm(x, dim=-1, keepdim=True).clamp(min=torch.finfo(x.dtype).tiny)
        size = norms / math.sqrt(x.shape[-1])
        return x / size, RowNorm(0.0, size)
    if normalize == "layer_norm":
        mean = x.mean(-1, keepdim=True)
        deviation = (x - mean).std(-1, keepdim=True)
        return (x - mean) / (deviation + LAYER_NORM_EPS), RowNorm(mean, deviation)
    return x, RowNorm(0.0, 1.0)
