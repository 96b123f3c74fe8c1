"""The largest pre-activations of a whole batch, exactly, without ever holding all of them.

What does not reach a floor is left out while a piece of the batch is in the cache; the floor comes from a few rows and
is so low that enough is left, or else it is lowered. Candidates above one floor can be taken of any parts of a batch,
so that data shards that agree on it choose together what one trainer would.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from trainers.codes import positions_of
from trainers.products import affine, operand
from trainers.selection import MIN_PIECE_ROWS, piece_rows

MARGINS = (2.0, 16.0)
"""How many times the activations that are wanted the floor lets through, tried in turn; then everything above 0."""


class Candidates(NamedTuple):
    """Pre-activations above a floor, row by row."""

    values: Tensor
    """[N]"""
    positions: Tensor
    """int64 [N], rising: row * num_latents + latent."""


def largest_of_batch(x: Tensor, W_enc: Tensor, b_enc: Tensor, count: int) -> Candidates:
    """The `count` largest of x W_enc^T + b_enc, or all above 0 where those are fewer.

    Args:
        x: [rows, d_in]; W_enc: [num_latents, d_in]; b_enc: [num_latents].
    """
    first = x[:MIN_PIECE_ROWS]
    sample = affine(b_enc, first, operand(W_enc), out=x.new_empty(len(first), len(W_enc)))
    for margin in MARGINS:
        floor = _floor(sample, round(margin * count * len(sample) / len(x)))
        candidates = candidates_above(x, W_enc, b_enc, floor)
        if len(candidates.values) >= count or floor == 0:
            return keep_largest(candidates, count)
    return keep_largest(candidates_above(x, W_enc, b_enc, 0.0), count)


def candidates_above(x: Tensor, W_enc: Tensor, b_enc: Tensor, floor: float) -> Candidates:
    """All of x W_enc^T + b_enc above `floor`."""
    num_latents, weights = len(W_enc), operand(W_enc)
    rows = piece_rows(x, num_latents)
    buffer = x.new_empty(min(rows, len(x)), num_latents)
    values, positions = [], []
    for start in range(0, len(x), rows):
        piece = x[start : start + rows]
        pre_acts = affine(b_enc, piece, weights, out=buffer[: len(piece)]).view(-1)
        found = positions_of(pre_acts > floor)
        values.append(pre_acts[found])
        positions.append(found + start * num_latents)
    return Candidates(torch.cat(values), torch.cat(positions))


def keep_largest(candidates: Candidates, count: int) -> Candidates:
    """The `count` largest; of equal ones the first."""
    values, positions = candidates
    if len(values) <= count:
        return candidates
    least = _kth_largest(values, count)
    kept = values > least
    equal = (values == least).nonzero().flatten()
    kept[equal[: count - int(kept.sum())]] = True
    return Candidates(values[kept], positions[kept])


def _floor(sample: Tensor, rank: int) -> float:
    """The value of that rank among `sample`, at least 0."""
    return max(0.0, _kth_largest(sample.view(-1), rank).item()) if rank < sample.numel() else 0.0


def _kth_largest(values: Tensor, k: int) -> Tensor:
    """Of values [N], 1 <= k <= N; numpy partitions 32-bit floats with vectors."""
    if values.is_cuda:
        return values.kthvalue(len(values) - k + 1).values
    place = len(values) - k
    return torch.from_numpy(np.partition(values.numpy(), place)[place : place + 1])[0]
