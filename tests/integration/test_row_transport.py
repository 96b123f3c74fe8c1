"""Row tables between Ray actors: what arrives is a view of the object store's memory."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import ray

from shared.row_table import RowFormat, Rows

pytestmark = pytest.mark.usefixtures("own_ray")
FORMAT = RowFormat("job", "model", "", {"h.0": 256, "h.1": 128}, "float16")
NUM_ROWS = 2000


def some_rows() -> Rows:
    rows, draw = FORMAT.empty(NUM_ROWS), np.random.default_rng(0)
    rows.addresses[:] = draw.integers(0, 1000, rows.addresses.shape)
    for values in rows.activations.values():
        values[:] = draw.standard_normal(values.shape)
    return rows


class Lane:
    """Takes a table, and says whether its activations lie in the store; keeps it, and gives it to the next."""

    def push(self, table: pa.Table) -> tuple[bool, ...]:
        self._table = table
        return where_it_lies(table)

    def fetch(self) -> list[ray.ObjectRef]:
        return [ray.put(self._table)]


class Trainer:
    def read(self, boxed: list[ray.ObjectRef]) -> tuple[tuple[bool, ...], bytes]:
        table = ray.get(boxed[0])
        rows = FORMAT.rows(table)
        return where_it_lies(table), b"".join(values.tobytes() for values in rows.activations.values())


def where_it_lies(table: pa.Table) -> tuple[bool, ...]:
    """Of each hookpoint's array, as a trainer reads it: whether it lies in the store, and cannot be written."""
    return tuple(in_store(values) and not values.flags.writeable for values in FORMAT.rows(table).activations.values())


def in_store(values: np.ndarray) -> bool:
    """Whether all of an array is in memory that this process shares with Ray's object store."""
    first = values.__array_interface__["data"][0]
    for line in Path("/proc/self/maps").read_text().splitlines():
        if "plasma" in line:
            begin, end = (int(one, 16) for one in line.split()[0].split("-"))
            if begin <= first and first + values.nbytes <= end:
                return True
    return False


def test_what_is_pushed_and_what_is_fetched_is_read_where_it_lies() -> None:
    rows = some_rows()
    assert where_it_lies(FORMAT.table(rows)) == (False, False)
    lane, trainer = ray.remote(Lane).remote(), ray.remote(Trainer).remote()
    assert ray.get(lane.push.remote(FORMAT.table(rows))) == (True, True)
    lies, read = ray.get(trainer.read.remote(ray.get(lane.fetch.remote())))
    assert lies == (True, True)
    assert read == b"".join(values.tobytes() for values in rows.activations.values())
