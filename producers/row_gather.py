"""Copies the rows that train out of a forward's activations, once, into memory that the Arrow table then shares."""

import numpy as np
import torch
from torch import Tensor

from shared.row_table import STORAGE, RowFormat


class RowGather:
    """A sink of `HookedModel.run`: keeps of each hookpoint the rows that `kept` [contexts, tokens] marks.

    On a GPU the rows are gathered and checked there, and copied to pinned memory while the forward goes on;
    `arrays` and `not_finite` wait for that copy, and for nothing that was started after it.
    """

    def __init__(self, kept: np.ndarray, device: torch.device, dtype: str) -> None:
        self.num_rows = int(kept.sum())
        self._keeps_all = self.num_rows == kept.size
        self._index = torch.from_numpy(np.flatnonzero(kept)).to(device)
        self._dtype: torch.dtype = getattr(torch, dtype)
        self._rows: dict[str, Tensor] = {}
        self._sums: dict[str, Tensor] = {}
        self._copied: torch.cuda.Event | None = None

    def __call__(self, name: str, activations: Tensor) -> None:
        flat = activations.flatten(0, 1)
        rows = flat if self._keeps_all else flat.index_select(0, self._index)
        rows = rows.to(self._dtype, copy=self._keeps_all and rows.device.type == "cpu")
        self._sums[name] = rows.sum(dtype=torch.float32)
        self._rows[name] = rows if rows.device.type == "cpu" else self._to_host(rows)

    def arrays(self, row_format: RowFormat) -> dict[str, np.ndarray]:
        """hookpoint -> [rows, width] in the format's storage dtype; shares memory with what was gathered."""
        if self._copied is not None:
            self._copied.synchronize()
        empty = row_format.empty(0).activations
        return {
            name: _array(self._rows[name], STORAGE[row_format.dtype]) if name in self._rows else empty[name]
            for name in row_format.widths
        }

    def not_finite(self) -> dict[str, int]:
        """hookpoint -> rows that hold a nan or an infinity, where there are any. A finite sum has finite terms only."""
        suspects = [name for name, total in self._sums.items() if not torch.isfinite(total)]
        bad = {name: int((~torch.isfinite(self._rows[name])).any(dim=-1).sum()) for name in suspects}
        return {name: count for name, count in bad.items() if count}

    def _to_host(self, rows: Tensor) -> Tensor:
        pinned = torch.empty(rows.shape, dtype=rows.dtype, pin_memory=True)
        pinned.copy_(rows, non_blocking=True)
        self._copied = torch.cuda.Event()
        self._copied.record()
        return pinned


def _array(rows: Tensor, storage: np.dtype) -> np.ndarray:
    """The tensor's memory as an array; bfloat16 as its bits."""
    return (rows.view(torch.uint16) if rows.dtype == torch.bfloat16 else rows).contiguous().numpy().view(storage)
