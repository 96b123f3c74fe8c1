"""Row tables: the bytes of an Arrow IPC file, and tables that are whole and not what was agreed."""

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from shared.row_table import METADATA_KEY, RowFormat, Rows, read_ipc, write_ipc
from tests.fuzz.mutation import mutate_bytes, mutate_tree
from tests.fuzz.target import Target

FORMATS = {
    dtype: RowFormat("job", "model", "main", {"h.0": 3, "h.1": 5}, dtype)
    for dtype in ("float32", "float16", "bfloat16")
}
NUM_ROWS = 20
TYPES = (pa.int8(), pa.int32(), pa.int64(), pa.float32(), pa.string(), pa.list_(pa.float32()), pa.null(), pa.binary(3))


def sound_table(row_format: RowFormat) -> pa.Table:
    rows = row_format.empty(NUM_ROWS)
    rows.addresses[:] = np.arange(rows.addresses.size).reshape(rows.addresses.shape)
    for values in rows.activations.values():
        values[:] = np.arange(values.size).reshape(values.shape)
    return row_format.table(rows, unit=3, chunk=0)


class RowTables(Target):
    """`read_ipc` and `RowFormat.rows`: what they give is of the agreed shape, or they refuse."""

    name = "row tables"

    def lay(self, draw: random.Random, folder: Path) -> None:
        table, path = sound_table(FORMATS[draw.choice(list(FORMATS))]), folder / "rows.arrow"
        if draw.random() < 0.5:
            write_ipc(table, path)
            path.write_bytes(mutate_bytes(draw, path.read_bytes()))
            return
        for _ in range(draw.choice((1, 1, 2))):
            table = draw.choice((_with_facts, _with_facts, _with_column, _without_column, _reordered, _cut))(
                draw, table
            )
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table, max_chunksize=draw.choice((None, 7)))

    def feed(self, draw: random.Random, folder: Path) -> None:
        row_format = FORMATS[draw.choice(list(FORMATS))]
        table = read_ipc(folder / "rows.arrow")
        _check(row_format.rows(table), row_format, table.num_rows)


def _check(rows: Rows, row_format: RowFormat, num_rows: int) -> None:
    assert rows.addresses.shape == (num_rows, 5) and rows.addresses.dtype == np.int32
    for name, width in row_format.widths.items():
        values = rows.activations[name]
        assert values.shape == (num_rows, width) and values.dtype == row_format.empty(0).activations[name].dtype
        values.copy()


def _with_facts(draw: random.Random, table: pa.Table) -> pa.Table:
    """Other metadata."""
    raw = (table.schema.metadata or {}).get(METADATA_KEY, b"{}")
    if draw.random() < 0.3:
        return table.replace_schema_metadata({METADATA_KEY: mutate_bytes(draw, raw)})
    try:
        facts: Any = mutate_tree(draw, json.loads(raw))
    except ValueError:
        facts = {}
    return table.replace_schema_metadata(
        {draw.choice((METADATA_KEY, METADATA_KEY, b"other")): json.dumps(facts).encode()}
    )


def _with_column(draw: random.Random, table: pa.Table) -> pa.Table:
    """One column of another type, or with nulls, or of another width."""
    if not table.num_columns:
        return table
    at = draw.randrange(table.num_columns)
    name, kind = table.schema.names[at], draw.choice(TYPES)
    column: Any = pa.nulls(table.num_rows, kind)
    if draw.random() < 0.3:
        column = pa.array([None, *range(table.num_rows - 1)][: table.num_rows], pa.int32())
    elif draw.random() < 0.3 and table.num_rows:
        width = draw.choice((1, 3, 4))
        tensor = pa.fixed_shape_tensor(pa.float32(), [width])
        storage = pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(width * table.num_rows, np.float32)), width)
        column = pa.ExtensionArray.from_storage(tensor, storage)
    return table.set_column(at, name, column)


def _without_column(draw: random.Random, table: pa.Table) -> pa.Table:
    return table.remove_column(draw.randrange(table.num_columns)) if table.num_columns else table


def _reordered(draw: random.Random, table: pa.Table) -> pa.Table:
    names = table.schema.names
    return table.select(draw.sample(range(len(names)), len(names)))


def _cut(draw: random.Random, table: pa.Table) -> pa.Table:
    """Fewer rows, none, or the same twice."""
    return draw.choice(
        (table.slice(3, 5), table.slice(0, 0), pa.concat_tables([table, table]), table.schema.empty_table())
    )
