"""Cuts blocks into batches of exactly `batch_rows`; what is left of a block waits for the next one.

Rows wait in the stream's own dtype, so that a checkpoint holds their bits; they are cast to float32 and scaled
once, when their batch is full.
"""

from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise

import numpy as np
import torch
from torch import Tensor

DTYPES = {"float32": torch.float32, "float16": torch.float16, "uint16": torch.bfloat16}
"""What each dtype of a row table's storage means; Arrow has no bfloat16, its bits travel as uint16."""


class Batches:
    """A buffer of one batch in the stream's dtype, and one in float32 on the trainer's device.

    A row is its columns side by side: one for each hookpoint that the trainer reads.
    """

    def __init__(self, batch_rows: int, widths: tuple[int, ...], device: torch.device) -> None:
        self.batch_rows = batch_rows
        self.width = sum(widths)
        edges = [0, *accumulate(widths)]
        self._columns = [slice(start, stop) for start, stop in pairwise(edges)]
        self._buffer: Tensor | None = None
        self._batch = torch.empty(batch_rows, self.width, device=device)
        self._num_waiting = 0
        self._copied: torch.cuda.Event | None = None

    def add(self, columns: Sequence[np.ndarray], scales: Sequence[float]) -> Iterator[Tensor]:
        """Takes in `columns`, each [rows, its width]; gives every batch that fills, scaled, valid until the next."""
        buffer, num_rows = self._storage_for(columns[0]), len(columns[0])
        start = 0
        while start < num_rows:
            if self._copied is not None:
                self._copied.synchronize()
            stop = min(num_rows, start + self.batch_rows - self._num_waiting)
            filled = buffer[self._num_waiting : self._num_waiting + stop - start]
            for place, values in zip(self._columns, columns, strict=True):
                filled[:, place] = values[start:stop]
            self._num_waiting += stop - start
            start = stop
            if self._num_waiting == self.batch_rows:
                yield self._take(scales)

    def flush(self, scales: Sequence[float]) -> Tensor | None:
        """The last batch, shorter than the others; None when nothing waits."""
        return self._take(scales) if self._num_waiting else None

    @property
    def waiting(self) -> Tensor:
        """The rows that wait, [rows, sum of widths], in the stream's dtype."""
        return torch.empty(0, self.width) if self._buffer is None else self._buffer[: self._num_waiting].clone()

    @waiting.setter
    def waiting(self, rows: Tensor) -> None:
        self._buffer = self._new_buffer(rows.dtype)
        self._buffer[: len(rows)] = rows
        self._num_waiting = len(rows)

    def _take(self, scales: Sequence[float]) -> Tensor:
        assert self._buffer is not None
        batch = self._batch[: self._num_waiting]
        batch.copy_(self._buffer[: self._num_waiting].to(batch.device, non_blocking=True))
        if batch.is_cuda:
            self._copied = torch.cuda.Event()
            self._copied.record()
        for place, scale in zip(self._columns, scales, strict=True):
            batch[:, place].mul_(scale)
        self._num_waiting = 0
        return batch

    def _new_buffer(self, dtype: torch.dtype) -> Tensor:
        """Pinned where a GPU copies from it, while the host goes on; `add` waits for that before it writes again."""
        return torch.empty(self.batch_rows, self.width, dtype=dtype, pin_memory=self._batch.is_cuda)

    def _storage_for(self, values: np.ndarray) -> np.ndarray:
        """The buffer as numpy sees it; made on the first rows, since they tell the dtype."""
        dtype = DTYPES[values.dtype.name]
        if self._buffer is None or (self._buffer.dtype != dtype and self._num_waiting == 0):
            self._buffer = self._new_buffer(dtype)
        assert self._buffer.dtype == dtype, f"rows were {self._buffer.dtype} and are now {dtype}"
        return (self._buffer.view(torch.uint16) if dtype == torch.bfloat16 else self._buffer).numpy()


def to_float32(values: np.ndarray) -> Tensor:
    """A copy of a row table's storage [rows, d_in] as float32."""
    if values.dtype == np.uint16:
        return torch.from_numpy((values.astype(np.uint32) << 16).view(np.float32))
    return torch.from_numpy(values.astype(np.float32))
