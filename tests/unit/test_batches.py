import numpy as np
import pytest
import torch
from torch.testing import assert_close

from trainers.batches import Batches, to_float32

CPU = torch.device("cpu")


def as_stored(values: torch.Tensor) -> np.ndarray:
    return values.view(torch.uint16).numpy() if values.dtype == torch.bfloat16 else values.numpy()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("block_rows", [1, 7, 10, 64])
def test_batches_are_the_rows_in_order(dtype: torch.dtype, block_rows: int) -> None:
    rows = torch.randn(64, 3, generator=torch.Generator().manual_seed(0)).to(dtype)
    batches, found = Batches(10, (3,), CPU), []
    for start in range(0, 64, block_rows):
        for batch in batches.add([as_stored(rows[start : start + block_rows])], [2.0]):
            assert batch.shape == (10, 3)
            found.append(batch.clone())
    assert torch.equal(batches.waiting, rows[60:])
    last = batches.flush([2.0])
    assert last is not None
    assert_close(torch.cat([*found, last]), rows.float() * 2)
    assert batches.flush([2.0]) is None


def test_rows_that_cannot_be_written_to_are_read() -> None:
    values = np.ones((10, 3), np.float32)
    values.flags.writeable = False
    (batch,) = Batches(10, (3,), CPU).add([values], [1.0])
    assert torch.equal(batch, torch.ones(10, 3))
    assert torch.equal(to_float32(values), torch.ones(10, 3))


def test_waiting_rows_can_be_put_back() -> None:
    rows = torch.randn(7, 3).bfloat16()
    first, second = Batches(10, (3,), CPU), Batches(10, (3,), CPU)
    assert list(first.add([as_stored(rows)], [1.0])) == []
    second.waiting = first.waiting
    (batch,) = second.add([as_stored(rows[:3])], [1.0])
    assert torch.equal(batch, torch.cat([rows, rows[:3]]).float())


def test_bfloat16_bits_become_their_values() -> None:
    values = torch.tensor([[1.5, -3.0, 1e30, torch.inf]], dtype=torch.bfloat16)
    assert torch.equal(to_float32(as_stored(values)), values.float())
