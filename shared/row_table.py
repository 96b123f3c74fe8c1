"""Rows of activations as Arrow tables: the one schema of the stream, on the wire and on disk.

A row is one token: int32 address columns, then for each hookpoint one column of Arrow's canonical fixed-shape tensor.
Arrow has no bfloat16: its bits travel as uint16 and the metadata says `bfloat16`. Making a table and reading
one copy nothing: the arrays are views of one another's memory, read-only after they have crossed processes.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from shared.errors import SchemaError, one_line

FORMAT_VERSION = 1
ADDRESS_COLUMNS = ("unit", "document", "context", "position", "token_id")
"""unit: its number; document: its number in the unit; context: its number in the unit; position: in the context."""
METADATA_KEY = b"headrace"
STORAGE: dict[str, np.dtype] = {
    "float32": np.dtype(np.float32),
    "float16": np.dtype(np.float16),
    "bfloat16": np.dtype(np.uint16),
}
"""What one value of each dtype is stored as."""


class Rows(NamedTuple):
    """Some rows in memory, in order."""

    addresses: np.ndarray
    """int32 [rows, 5], columns as ADDRESS_COLUMNS; contiguous by column or by row."""
    activations: dict[str, np.ndarray]
    """hookpoint -> [rows, width] of the format's storage dtype, contiguous."""

    @property
    def num_rows(self) -> int:
        return len(self.addresses)

    def slice(self, start: int, stop: int) -> "Rows":
        return Rows(self.addresses[start:stop], {name: values[start:stop] for name, values in self.activations.items()})


@dataclass(frozen=True)
class RowFormat:
    """What every table of one job has in common."""

    job: str
    model: str
    revision: str
    widths: Mapping[str, int]
    """hookpoint -> values in one row, in the job file's order."""
    dtype: str

    @property
    def row_bytes(self) -> int:
        """Bytes of one row, address and all hookpoints."""
        return 4 * len(ADDRESS_COLUMNS) + STORAGE[self.dtype].itemsize * sum(self.widths.values())

    def empty(self, num_rows: int) -> Rows:
        """Uninitialised rows; each hookpoint in one contiguous array."""
        activations = {name: np.empty((num_rows, width), STORAGE[self.dtype]) for name, width in self.widths.items()}
        return Rows(np.empty((num_rows, len(ADDRESS_COLUMNS)), np.int32), activations)

    def table(self, rows: Rows, **numbers: int) -> pa.Table:
        """`rows` as a table that shares the activations' memory; `numbers` (unit, chunk, block) go to the metadata."""
        columns: list[pa.Array] = [pa.array(np.ascontiguousarray(column)) for column in rows.addresses.T]
        fields = [pa.field(name, pa.int32(), nullable=False) for name in ADDRESS_COLUMNS]
        for name, width in self.widths.items():
            values = rows.activations[name]
            tensor = pa.fixed_shape_tensor(pa.from_numpy_dtype(values.dtype), [width])
            storage = pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), width)
            columns.append(pa.ExtensionArray.from_storage(tensor, storage))
            fields.append(pa.field(name, tensor, nullable=False))
        return pa.Table.from_arrays(columns, schema=pa.schema(fields, metadata={METADATA_KEY: self._metadata(numbers)}))

    def rows(self, table: pa.Table) -> Rows:
        """The rows of a table of this format, activations without a copy.

        Raises:
            SchemaError: the table is of another version, job, model, dtype or shape; says which.
        """
        found = table_metadata(table)
        for key, expected in json.loads(self._metadata({})).items():
            if found.get(key) != expected:
                raise SchemaError(f"row table has {key} {found.get(key)!r:.100}, this job has {expected!r}")
        return _read(table, self.widths, self.dtype)

    def _metadata(self, numbers: Mapping[str, int]) -> bytes:
        facts = {
            "format_version": FORMAT_VERSION,
            "job": self.job,
            "model": self.model,
            "revision": self.revision,
            "hookpoints": dict(self.widths),
            "dtype": self.dtype,
            **numbers,
        }
        return json.dumps(facts).encode()


def table_metadata(table: pa.Table) -> dict:
    """The facts in a row table's schema metadata: format_version, job, model, revision, hookpoints, dtype, numbers.

    Raises:
        SchemaError: not a row table of Headrace, or one of a version that this one does not read.
    """
    raw = (table.schema.metadata or {}).get(METADATA_KEY)
    if raw is None:
        raise SchemaError(f"not a Headrace row table: its schema has no {METADATA_KEY.decode()!r} metadata")
    try:
        facts = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise SchemaError("the row table's metadata is not JSON") from error
    version = facts.get("format_version") if isinstance(facts, dict) else None
    if version != FORMAT_VERSION:
        raise SchemaError(f"row table has format version {version!r:.60}, this Headrace reads {FORMAT_VERSION}")
    widths, dtype = facts.get("hookpoints"), facts.get("dtype")
    if not isinstance(widths, dict) or not all(type(width) is int and width > 0 for width in widths.values()):
        raise SchemaError(f"row table has hookpoints {widths!r:.60}, and not the width of each")
    if not isinstance(dtype, str) or dtype not in STORAGE:
        raise SchemaError(f"row table has dtype {dtype!r:.60}; expected {', '.join(STORAGE)}")
    return facts


def read_rows(table: pa.Table) -> Rows:
    """The rows of any row table, by what its own metadata says; see `RowFormat.rows`."""
    facts = table_metadata(table)
    return _read(table, facts["hookpoints"], facts["dtype"])


def write_ipc(table: pa.Table, path: Path) -> None:
    """The table as an Arrow IPC file, which any Arrow library of any language reads."""
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)


def read_ipc(path: Path) -> pa.Table:
    """The row table in an Arrow IPC file, memory-mapped. Raises SchemaError if it is not one."""
    try:
        with pa.memory_map(str(path)) as source:
            table = pa.ipc.open_file(source).read_all()
        table.validate()
    except (pa.ArrowException, OSError) as error:
        raise SchemaError(f"{path.name} is not an Arrow IPC file: {one_line(error)}") from error
    table_metadata(table)
    return table


def _read(table: pa.Table, widths: Mapping[str, int], dtype: str) -> Rows:
    _check_columns(table.schema, widths, dtype)
    try:
        table = table.combine_chunks()
        _check_values(table)
    except pa.ArrowException as error:
        raise SchemaError(f"row table is damaged: {one_line(error)}") from error
    addresses = np.stack([_column(table, name).to_numpy() for name in ADDRESS_COLUMNS], axis=1)
    activations = {
        name: _column(table, name).storage.flatten().to_numpy(zero_copy_only=True).reshape(-1, width)
        for name, width in widths.items()
    }
    return Rows(addresses, activations)


def _check_values(table: pa.Table) -> None:
    """Raises SchemaError where a value is missing."""
    for name in table.schema.names:
        column = _column(table, name)
        values = column.storage.flatten() if isinstance(column, pa.ExtensionArray) else column
        if column.null_count or values.null_count:
            raise SchemaError(f"row table's column {name} has values that are missing")


def _check_columns(schema: pa.Schema, widths: Mapping[str, int], dtype: str) -> None:
    expected = [*ADDRESS_COLUMNS, *widths]
    if schema.names != expected:
        raise SchemaError(f"row table has columns {', '.join(schema.names)}; expected {', '.join(expected)}")
    storage = pa.from_numpy_dtype(STORAGE[dtype])
    for name in ADDRESS_COLUMNS:
        if schema.field(name).type != pa.int32():
            raise SchemaError(f"row table's column {name} is {schema.field(name).type}, expected int32")
    for name, width in widths.items():
        tensor = pa.fixed_shape_tensor(storage, [width])
        if schema.field(name).type != tensor:
            raise SchemaError(f"row table's column {name} is {schema.field(name).type}, expected {tensor}")


def _column(table: pa.Table, name: str) -> pa.Array:
    chunks, kind = table.column(name).chunks, table.schema.field(name).type
    if chunks:
        return chunks[0]
    if isinstance(kind, pa.BaseExtensionType):
        return kind.wrap_array(pa.array([], kind.storage_type))
    return pa.array([], kind)
