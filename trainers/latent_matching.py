"""Which directions of one dictionary are those of another, by the cosine between them.

Directions are rows, of any length but zero. Greatest cosines are found piece by piece, so they cost no more than
`PIECE_COSINES` numbers of memory however wide the dictionaries are; a one-to-one assignment holds all cosines and takes
time with the cube of the smaller width: seconds at 4,096, not for a million.
"""

from typing import NamedTuple

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

PIECE_COSINES = 2**26


class Matches(NamedTuple):
    """Pairs of rows, and how near they are to each other."""

    rows: Tensor
    """int64 [pairs], of the first dictionary, rising."""
    columns: Tensor
    """int64 [pairs], of the second."""
    cosines: Tensor
    """[pairs]."""


def cosines(first: Tensor, second: Tensor) -> Tensor:
    """The cosine of each row of `first` [n, D] with each of `second` [m, D]: [n, m]; 0 for a row of zeros."""
    return unit_rows(first) @ unit_rows(second).T


def nearest(first: Tensor, second: Tensor, *, either_sign: bool = False) -> Matches:
    """For each row of `first` [n, D] the row of `second` [m, D] with the greatest cosine; rows may share one.

    Args:
        either_sign: the greatest size of a cosine counts, whatever its sign; sizes are given.
    """
    ours, theirs = unit_rows(first), unit_rows(second)
    found = []
    for piece in ours.split(max(1, PIECE_COSINES // len(theirs))):
        near = piece @ theirs.T
        found.append((near.abs_() if either_sign else near).max(dim=1))
    values, columns = (torch.cat(parts) for parts in zip(*found, strict=True))
    return Matches(torch.arange(len(first), device=first.device), columns, values)


def one_to_one(first: Tensor, second: Tensor, *, either_sign: bool = False) -> Matches:
    """min(n, m) pairs, each row in at most one, with the greatest sum of cosines there is (Hungarian method)."""
    near = cosines(first, second)
    weights = near.abs() if either_sign else near
    rows, columns = (torch.from_numpy(part) for part in linear_sum_assignment(weights.cpu().numpy(), maximize=True))
    return Matches(rows, columns, weights.cpu()[rows, columns])


def unit_rows(directions: Tensor) -> Tensor:
    """A copy with rows of length one; rows of zeros stay."""
    norms = torch.linalg.vector_norm(directions, dim=1, keepdim=True)
    return directions / norms.clamp(min=torch.finfo(directions.dtype).tiny)
