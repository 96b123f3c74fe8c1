"""Cuts blocks into batches of exactly `batch_rows`; what is left of a block waits for the next one.

Rows wait in the stream's own dtype, so that a checkpoint holds their bits; they are cast to float32 and scaled
once, when their batch is full.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

DTYPES = {"float32": torch.float32, "float16": torch.float16, "uint16": torch.bfloat16}
"""What each dtype of a row table's storage means; Arrow has no bfloat16, its bits travel as uint16."""


class Batches:
    """A buffer of one batch in the stream's dtype, and one in float32 on the trainer's device."""

    def __init__(self, batch_rows: int, d_in: int, device: torch.device) -> None:
        self.batch_rows = batch_rows
        self.d_in = d_in
        self._buffer: Tensor | None = None
        self._batch = torch.empty(batch_rows, d_in, device=device)
        self._num_waiting = 0

    def add(self, values: np.ndarray, scale: float) -> Iterator[Tensor]:
        """Takes in `values` [rows, d_in] and gives every batch that fills, scaled; each is valid until the next."""
        buffer = self._storage_for(values)
        start = 0
        while start < len(values):
            stop = min(len(values), start + self.batch_rows - self._num_waiting)
            buffer[self._num_waiting : self._num_waiting + stop - start] = values[start:stop]
            self._num_waiting += stop - start
            start = stop
            if self._num_waiting == self.batch_rows:
                yield self._take(scale)

    def flush(self, scale: float) -> Tensor | None:
        """The last batch, shorter than the others; None when nothing waits."""
        return self._take(scale) if self._num_waiting else None

    @property
    def waiting(self) -> Tensor:
        """The rows that wait, [rows, d_in], in the stream's dtype."""
        return torch.empty(0, self.d_in) if self._buffer is None else self._buffer[: self._num_waiting].clone()

    @waiting.setter
    def waiting(self, rows: Tensor) -> None:
        self._buffer = torch.empty(self.batch_rows, self.d_in, dtype=rows.dtype)
        self._buffer[: len(rows)] = rows
        self._num_waiting = len(rows)

    def _take(self, scale: float) -> Tensor:
        assert self._buffer is not None
        batch = self._batch[: self._num_waiting]
        batch.copy_(self._buffer[: self._num_waiting]).mul_(scale)
        self._num_waiting = 0
        return batch

    def _storage_for(self, values: np.ndarray) -> np.ndarray:
        """The buffer as numpy sees it; made on the first rows, since they tell the dtype."""
        dtype = DTYPES[values.dtype.name]
        if self._buffer is None or (self._buffer.dtype != dtype and self._num_waiting == 0):
            self._buffer = torch.empty(self.batch_rows, self.d_in, dtype=dtype)
        assert self._buffer.dtype == dtype, f"rows were {self._buffer.dtype} and are now {dtype}"
        return (self._buffer.view(torch.uint16) if dtype == torch.bfloat16 else self._buffer).numpy()


def to_float32(values: np.ndarray) -> Tensor:
    """A copy of a row table's storage [rows, d_in] as float32."""
    if values.dtype == np.uint16:
        return torch.from_numpy((values.astype(np.uint32) << 16).view(np.float32))
    return torch.from_numpy(values.astype(np.float32))
