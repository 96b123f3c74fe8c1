"""What an SAE's step does on a GPU besides dense products, each in one pass over memory, for float32 weights.

Every sum runs in an order that its arguments fix, without atomics, so two runs give the same bits. The plain torch
forms stand where these are called (`trainers.codes`, `trainers.selection`, `trainers.unit_norm`) and are what the
tests compare with; they run on a CPU, and where there is no Triton or no C compiler, which Triton needs at the first
launch. What torch itself runs on a GPU in their place may sum in another order each time.
"""

import os
import shutil
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

try:
    import triton
    import triton.language as tl
    from triton.language import constexpr
except ImportError:
    triton, constexpr = None, int

HAS_COMPILER = bool(os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang"))
"""Where Triton looks for one."""
MAX_SELECTED_FROM = 2**14
"""Numbers of one row that one program holds in registers to choose from."""


def runs_on(tensor: Tensor) -> bool:
    """Whether what follows is for `tensor`."""
    return triton is not None and HAS_COMPILER and tensor.is_cuda and tensor.dtype in (torch.float32, torch.bfloat16)


def sum_of_rows(
    values: Tensor, indices: Tensor, starts: Tensor, rows: Tensor, out: Tensor, beta: float = 0.0
) -> Tensor:
    """out[s] = beta out[s] + sum of values[i] rows[indices[i]] for i from starts[s] to starts[s + 1].

    Args:
        values: [N]; indices: int32 [N]; starts: int32 [S + 1]; rows: [R, D]; out: [S, D], with beta 0 not read.
    """
    width = rows.shape[1]
    block = min(256, triton.next_power_of_2(width))
    grid = (len(out), triton.cdiv(width, block))
    values, indices, rows = values.contiguous(), indices.contiguous(), rows.contiguous()
    _sum_of_rows[grid](values, indices, starts, rows, out, width, beta, out.stride(0), beta != 0, block, 8, num_warps=4)
    return out


def dots(left: Tensor, right: Tensor, indices: Tensor, starts: Tensor) -> Tensor:
    """[N]: <left[s], right[indices[i]]> for i from starts[s] to starts[s + 1]; left [S, D], right [R, D]."""
    out = left.new_empty(len(indices))
    block = min(256, triton.next_power_of_2(left.shape[1]))
    arguments = left.contiguous(), right.contiguous(), indices.contiguous(), starts, out, left.shape[1]
    _dots[(len(left),)](*arguments, block, 8, num_warps=4)
    return out


def can_select(num_columns: int, k: int, group: int) -> bool:
    """Whether rows are short enough, and k small enough, for one program's registers."""
    return max(num_columns / group, k * group) <= MAX_SELECTED_FROM


def select_largest(pre_acts: Tensor, k: int, group: int) -> tuple[Tensor, Tensor]:
    """float32 values and int64 columns of each row's k largest, which `can_select` allows.

    Args:
        pre_acts: [rows, columns], float32 or bfloat16, rows contiguous; group: a power of two, neighbours seen as one.
    """
    num_rows, num_columns = pre_acts.shape
    num_groups = triton.cdiv(num_columns, group)
    assert num_groups >= k, f"{k} of {num_groups} groups"
    columns = torch.empty(num_rows, k, dtype=torch.int64, device=pre_acts.device)
    values = torch.empty(num_rows, k, dtype=torch.float32, device=pre_acts.device)
    first = columns
    if group > 1:
        maxima = torch.empty(num_rows, num_groups, dtype=pre_acts.dtype, device=pre_acts.device)
        size = 4096 // group
        grid = (num_rows, triton.cdiv(num_groups, size))
        _maxima[grid](pre_acts, maxima, num_columns, num_groups, pre_acts.stride(0), group, size, num_warps=4)
        first = torch.empty_like(columns)
        _select(maxima, first, first, values, num_groups, k, 1)
    _select(pre_acts, first, columns, values, num_columns, k, group)
    return values, columns


def normalise_rows(weights: Tensor) -> None:
    """As `trainers.unit_norm.normalise_rows`, for a contiguous matrix."""
    width = weights.shape[1]
    _normalise[(len(weights),)](weights, width, torch.finfo(weights.dtype).tiny, triton.next_power_of_2(width))


def project_gradient(gradient: Tensor, weights: Tensor) -> None:
    """As `trainers.unit_norm.project_gradient`, for contiguous matrices."""
    width = weights.shape[1]
    _project[(len(weights),)](gradient, weights, width, triton.next_power_of_2(width))


def scale_above(values: Tensor, norm: Tensor, limit: float) -> None:
    """values <- values limit / norm where `norm`, one float32, is above `limit`; else `values` are not touched."""
    size, block = values.numel(), 2**14
    _scale_above[(triton.cdiv(size, block),)](values, norm, limit, size, block, num_warps=8)


def _select(pre_acts: Tensor, first: Tensor, columns: Tensor, values: Tensor, width: int, k: int, group: int) -> None:
    """Chooses among all columns where `group` is 1, else among the members of the groups `first`."""
    block = max(128, triton.next_power_of_2(width if group == 1 else k * group))
    bits = 16 if pre_acts.dtype == torch.bfloat16 else 32
    arguments = pre_acts, first, columns, values, width, pre_acts.stride(0)
    _largest[(len(pre_acts),)](*arguments, k, group, bits, block, num_warps=max(1, min(16, block // 256)))


def _compiled(function: Callable[..., None]) -> Any:
    return function if triton is None else triton.jit(function)


@_compiled
def _sum_of_rows(
    values, indices, starts, rows, out, width, beta, stride,
    ADDS: constexpr, BLOCK: constexpr, AT_ONCE: constexpr,
):  # fmt: skip
    segment = tl.program_id(0).to(tl.int64)
    columns = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    begin, end = tl.load(starts + segment), tl.load(starts + segment + 1)
    total = tl.zeros([AT_ONCE, BLOCK], tl.float32)
    for start in range(begin, end, AT_ONCE):
        place = start + tl.arange(0, AT_ONCE)
        index = tl.load(indices + place, mask=place < end, other=0).to(tl.int64)
        value = tl.load(values + place, mask=place < end, other=0.0)
        mask = (place < end)[:, None] & (columns < width)[None, :]
        total += value[:, None] * tl.load(rows + index[:, None] * width + columns[None, :], mask=mask, other=0.0)
    result = tl.sum(total, 0)
    target = out + segment * stride + columns
    if ADDS:
        result += beta * tl.load(target, mask=columns < width, other=0.0)
    tl.store(target, result, mask=columns < width)


@_compiled
def _dots(left, right, indices, starts, out, width, BLOCK: constexpr, AT_ONCE: constexpr):
    segment = tl.program_id(0).to(tl.int64)
    begin, end = tl.load(starts + segment), tl.load(starts + segment + 1)
    for start in range(begin, end, AT_ONCE):
        place = start + tl.arange(0, AT_ONCE)
        index = tl.load(indices + place, mask=place < end, other=0).to(tl.int64)
        total = tl.zeros([AT_ONCE, BLOCK], tl.float32)
        for offset in range(0, width, BLOCK):
            columns = offset + tl.arange(0, BLOCK)
            mask = (place < end)[:, None] & (columns < width)[None, :]
            other = tl.load(right + index[:, None] * width + columns[None, :], mask=mask, other=0.0)
            total += other * tl.load(left + segment * width + columns, mask=columns < width, other=0.0)[None, :]
        tl.store(out + place, tl.sum(total, 1), mask=place < end)


@_compiled
def _maxima(pre_acts, maxima, num_columns, num_groups, stride, GROUP: constexpr, SIZE: constexpr):
    row = tl.program_id(0).to(tl.int64)
    group = tl.program_id(1) * SIZE + tl.arange(0, SIZE)
    column = group[:, None] * GROUP + tl.arange(0, GROUP)[None, :]
    found = tl.load(pre_acts + row * stride + column, mask=column < num_columns, other=float("-inf"))
    tl.store(maxima + row * num_groups + group, tl.max(found, 1), mask=group < num_groups)


@_compiled
def _largest(
    pre_acts, first, columns, values, width, stride, k,
    GROUP: constexpr, BITS: constexpr, BLOCK: constexpr,
):  # fmt: skip
    """A float's bits, those below the sign flipped where it is negative, compare as the floats do.

    So the k-th largest is found bit by bit, by counting; above it all are taken, and of its equals the first.
    """
    row = tl.program_id(0).to(tl.int64)
    place = tl.arange(0, BLOCK)
    if GROUP == 1:
        column = place
        there = place < width
    else:
        known = place < k * GROUP
        column = tl.load(first + row * k + place // GROUP, mask=known, other=0).to(tl.int32) * GROUP + place % GROUP
        there = known & (column < width)
    value = tl.load(pre_acts + row * stride + column, mask=there, other=float("-inf")).to(tl.float32)
    bits = value.to(tl.int32, bitcast=True)
    key = tl.where(bits < 0, bits ^ 0x7FFFFFFF, bits) >> (32 - BITS)
    key = tl.where(value != value, 2 ** (BITS - 1) - 1, key)
    key = tl.where(there, key, -(2 ** (BITS - 1)))
    least = tl.min(key, 0) * 0 + -(2 ** (BITS - 1))
    for bit in tl.static_range(BITS):
        higher = least + (1 << (BITS - 1 - bit)) if bit > 0 else least * 0
        least = tl.where(tl.sum((key >= higher).to(tl.int32), 0) >= k, higher, least)
    above = key > least
    equal = (key == least) & there
    taken = above | (equal & (tl.cumsum(equal.to(tl.int32), 0) <= k - tl.sum(above.to(tl.int32), 0)))
    target = row * k + tl.cumsum(taken.to(tl.int32), 0) - 1
    tl.store(columns + target, column.to(tl.int64), mask=taken)
    tl.store(values + target, value, mask=taken)


@_compiled
def _scale_above(values, norm, limit, size, BLOCK: constexpr):
    found = tl.load(norm)
    if found > limit:
        place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
        value = tl.load(values + place, mask=place < size, other=0.0)
        tl.store(values + place, value * (limit / found), mask=place < size)


@_compiled
def _normalise(weights, width, tiny, BLOCK: constexpr):
    place = tl.program_id(0).to(tl.int64) * width + tl.arange(0, BLOCK)
    mask = tl.arange(0, BLOCK) < width
    row = tl.load(weights + place, mask=mask, other=0.0)
    norm = tl.maximum(tl.sqrt_rn(tl.sum(row * row, 0)), tiny)
    tl.store(weights + place, tl.div_rn(row, norm), mask=mask)


@_compiled
def _project(gradient, weights, width, BLOCK: constexpr):
    place = tl.program_id(0).to(tl.int64) * width + tl.arange(0, BLOCK)
    mask = tl.arange(0, BLOCK) < width
    row = tl.load(weights + place, mask=mask, other=0.0)
    slope = tl.load(gradient + place, mask=mask, other=0.0)
    tl.store(gradient + place, slope - row * tl.sum(row * slope, 0), mask=mask)
