"""The k largest of each row, exactly, and several times as fast as torch.topk on a CPU.

Columns are seen as groups of `g`, those that lie num_columns / g apart. At least k columns reach the k-th largest of
the groups' maxima, and seldom many more, so that few are left to choose from after two vectorised passes. Values are
partitioned, not column numbers, which would take half as long again to three times as long; and columns come out in
order, so that of equal values the first are chosen. 4 ms for 2048 rows of 1024 where torch.topk takes 19 (one core,
AVX-512, 2026-11).
"""

import numpy as np
import torch
from torch import Tensor

from trainers import gpu_kernels
from trainers.products import affine, operand

PIECE_BYTES = 2**23
"""Pre-activations that are in memory at once: they are chosen from while still in the cache."""
MAX_PIECE_ROWS = 512
MIN_PIECE_ROWS = 64
MAXIMA_PER_ACTIVE, LEAST_MAXIMA = 4, 128
"""At least so many groups, for each of the k and in all: with fewer, many columns reach the k-th largest maximum."""
GPU_PIECE_BYTES = 2**29
"""As PIECE_BYTES on a GPU, where few large products are faster than many that stay in its cache."""


def largest_pre_acts(x: Tensor, W_enc: Tensor, b_enc: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """`select_largest` of x W_enc^T + b_enc, without ever holding all of it.

    Args:
        x: [rows, d_in]; W_enc: [num_latents, d_in]; b_enc: [num_latents].
    """
    num_latents, weights = len(W_enc), operand(W_enc)
    rows = piece_rows(x, num_latents)
    dtype = weights.dtype if x.is_cuda else x.dtype
    buffer = torch.empty(min(rows, len(x)), num_latents, dtype=dtype, device=x.device)
    values, indices = x.new_empty(len(x), k), torch.empty(len(x), k, dtype=torch.int64, device=x.device)
    for start in range(0, len(x), rows):
        piece = slice(start, min(start + rows, len(x)))
        pre_acts = affine(b_enc, x[piece], weights, out=buffer[: piece.stop - start])
        values[piece], indices[piece] = select_largest(pre_acts, k)
    return values, indices


def piece_rows(x: Tensor, num_latents: int) -> int:
    """Rows of `x` whose pre-activations stay in the cache, or on a GPU in `GPU_PIECE_BYTES`."""
    if x.is_cuda:
        return max(MIN_PIECE_ROWS, GPU_PIECE_BYTES // (x.element_size() * num_latents))
    return max(MIN_PIECE_ROWS, min(MAX_PIECE_ROWS, PIECE_BYTES // (x.element_size() * num_latents)))


def select_largest(pre_acts: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Values, float32 or wider, and int64 column numbers of each row's k largest, both [rows, k].

    NaN counts as infinite. On a CPU columns rise, and of equal values the first are taken; on a GPU the order and
    the choice are what its kernels fix.
    """
    if pre_acts.is_cuda:
        return _largest_on_gpu(pre_acts, k)
    rows, num_columns = pre_acts.shape
    floors = _kth_largest(_maxima(pre_acts, _group_size(num_columns, k)).numpy(), k)
    positions = torch.from_numpy(_chosen(pre_acts.numpy(), floors, k))
    columns = positions - torch.arange(0, rows * num_columns, num_columns)[:, None]
    return pre_acts.view(-1)[positions], columns


def _largest_on_gpu(pre_acts: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Its groups are neighbours, and the last one may be short."""
    if gpu_kernels.runs_on(pre_acts):
        group = _gpu_group_size(pre_acts.shape[1], k)
        if gpu_kernels.can_select(pre_acts.shape[1], k, group):
            return gpu_kernels.select_largest(pre_acts, k, group)
    values, columns = torch.topk(pre_acts, k, sorted=False)
    return values.to(torch.promote_types(values.dtype, torch.float32)), columns


def _chosen(values: np.ndarray, floors: np.ndarray, k: int) -> np.ndarray:
    """int64 [rows, k], rising: where in the flattened `values` the k largest of each row are.

    Args:
        floors: [rows, 1], which at least k values of each row reach.
    """
    rows, num_columns = values.shape
    found = np.flatnonzero(~(values < floors))
    edges = np.searchsorted(found, np.arange(rows + 1) * num_columns)
    counts = np.diff(edges)[:, None]
    within = np.arange(counts.max())
    positions = found.take(edges[:-1, None] + within, mode="clip")
    reached = values.reshape(-1).take(positions)
    np.copyto(reached, np.inf, where=np.isnan(reached))
    np.copyto(reached, -np.inf, where=within >= counts)
    return positions[_is_among_largest(reached, k)].reshape(rows, k)


def _is_among_largest(values: np.ndarray, k: int) -> np.ndarray:
    """bool, k of each row; of equal values the first."""
    least = _kth_largest(values, k)
    chosen = values >= least
    if np.count_nonzero(chosen) > k * len(values):
        above = values > least
        room = k - np.count_nonzero(above, axis=1, keepdims=True)
        chosen = above | (chosen & (np.cumsum(chosen & ~above, axis=1) <= room))
    return chosen


def _kth_largest(values: np.ndarray, k: int) -> np.ndarray:
    """[rows, 1]"""
    split = values.shape[1] - k
    return np.partition(values, split, axis=1)[:, split : split + 1]


def _maxima(values: Tensor, group: int) -> Tensor:
    """[rows, groups]: the largest of each; what is left over after the last whole group stands for itself."""
    if group == 1:
        return values
    whole = values.shape[1] // group * group
    maxima = values[:, :whole].unflatten(1, (group, -1)).amax(1)
    return maxima if whole == values.shape[1] else torch.cat([maxima, values[:, whole:]], dim=1)


def _group_size(num_columns: int, k: int) -> int:
    """The largest power of two that leaves enough groups."""
    group, least = 1, max(LEAST_MAXIMA, MAXIMA_PER_ACTIVE * k)
    while num_columns >= 2 * group * least:
        group *= 2
    return group


def _gpu_group_size(num_columns: int, k: int) -> int:
    """The power of two near sqrt(num_columns / k), where both choices cost the same."""
    group = 1
    while 2 * group * group * k <= num_columns:
        group *= 2
    return group
