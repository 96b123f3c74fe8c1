import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import SchemaError
from shared.row_table import ADDRESS_COLUMNS, METADATA_KEY, STORAGE, RowFormat, Rows, read_ipc, read_rows, write_ipc
from shared.row_table import table_metadata as metadata

FORMATS = {dtype: RowFormat("job", "gpt2", "main", {"h.0": 4, "h.1:in": 2}, dtype) for dtype in STORAGE}
FORMAT = FORMATS["float32"]


def rows_of(num_rows: int, row_format: RowFormat = FORMAT, seed: int = 0) -> Rows:
    rng, rows = np.random.default_rng(seed), row_format.empty(num_rows)
    rows.addresses[:] = rng.integers(0, 2**31 - 1, rows.addresses.shape)
    for values in rows.activations.values():
        values[:] = rng.integers(0, 2**15, values.shape)
    return rows


def assert_same(first: Rows, second: Rows) -> None:
    assert np.array_equal(first.addresses, second.addresses)
    assert list(first.activations) == list(second.activations)
    for name, values in first.activations.items():
        assert values.dtype == second.activations[name].dtype
        assert np.array_equal(values, second.activations[name])


def with_facts(table: pa.Table, **changes: Any) -> pa.Table:
    return table.replace_schema_metadata({METADATA_KEY: json.dumps({**metadata(table), **changes})})


@pytest.mark.parametrize("dtype", STORAGE)
@pytest.mark.parametrize("num_rows", [0, 1, 17])
def test_rows_come_back_as_they_went_in(dtype: str, num_rows: int) -> None:
    row_format = FORMATS[dtype]
    rows = rows_of(num_rows, row_format)
    assert_same(row_format.rows(row_format.table(rows)), rows)


@pytest.mark.parametrize("dtype", STORAGE)
def test_activations_are_never_copied(dtype: str) -> None:
    row_format = FORMATS[dtype]
    rows = rows_of(9, row_format)
    back = row_format.rows(row_format.table(rows))
    for name, values in rows.activations.items():
        assert np.shares_memory(values, back.activations[name])


def test_bfloat16_bits_survive() -> None:
    row_format, values = FORMATS["bfloat16"], torch.randn(5, 4).bfloat16()
    rows = rows_of(5, row_format)
    rows.activations["h.0"][:] = values.view(torch.uint16).numpy()
    back = row_format.rows(row_format.table(rows)).activations["h.0"]
    assert torch.equal(torch.from_numpy(back.copy()).view(torch.bfloat16), values)


@pytest.mark.parametrize("dtype", STORAGE)
def test_file_of_any_dtype_reads_back(dtype: str, tmp_path: Path) -> None:
    row_format = FORMATS[dtype]
    rows = rows_of(11, row_format)
    write_ipc(row_format.table(rows, unit=3), tmp_path / "rows.arrow")
    table = read_ipc(tmp_path / "rows.arrow")
    assert metadata(table)["unit"] == 3
    assert_same(row_format.rows(table), rows)


@given(st.integers(0, 20), st.integers(0, 20))
def test_slice_of_a_table_is_the_slice_of_its_rows(start: int, length: int) -> None:
    rows = rows_of(20)
    table = FORMAT.table(rows).slice(start, length)
    assert_same(read_rows(table), rows.slice(start, min(20, start + length)))


def test_tables_in_several_pieces_are_one() -> None:
    first, second = rows_of(3, seed=1), rows_of(4, seed=2)
    joined = read_rows(pa.concat_tables([FORMAT.table(first), FORMAT.table(second)]))
    assert_same(joined.slice(0, 3), first)
    assert_same(joined.slice(3, 7), second)


def test_any_arrow_library_sees_plain_tensors() -> None:
    table = FORMAT.table(rows_of(3))
    assert table.schema.names == [*ADDRESS_COLUMNS, "h.0", "h.1:in"]
    assert table.schema.field("h.0").type == pa.fixed_shape_tensor(pa.float32(), [4])
    assert not any(field.nullable for field in table.schema)


@pytest.mark.parametrize("dtype", STORAGE)
def test_row_bytes_are_what_a_row_takes(dtype: str) -> None:
    row_format = FORMATS[dtype]
    rows = row_format.empty(10)
    size = rows.addresses.nbytes + sum(values.nbytes for values in rows.activations.values())
    assert size == 10 * row_format.row_bytes


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"job": "other"}, "row table has job 'other', this job has 'job'"),
        ({"model": "llama"}, "row table has model 'llama', this job has 'gpt2'"),
        ({"revision": "v2"}, "row table has revision 'v2', this job has 'main'"),
        ({"dtype": "float16"}, "row table has dtype 'float16', this job has 'float32'"),
        ({"hookpoints": {"h.0": 8}}, r"row table has hookpoints \{'h.0': 8\}"),
        ({"format_version": 2}, "row table has format version 2, this Headrace reads 1"),
    ],
)
def test_table_of_something_else_is_refused_by_name(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(SchemaError, match=words):
        FORMAT.rows(with_facts(FORMAT.table(rows_of(2)), **changes))


def test_table_without_our_facts_is_refused() -> None:
    with pytest.raises(SchemaError, match="not a Headrace row table"):
        read_rows(pa.table({"a": [1]}))
    for raw in (b"{", b"5"):
        with pytest.raises(SchemaError):
            read_rows(FORMAT.table(rows_of(1)).replace_schema_metadata({METADATA_KEY: raw}))


def test_columns_that_belie_the_facts_are_refused() -> None:
    table = FORMAT.table(rows_of(2))
    with pytest.raises(SchemaError, match="row table has columns unit, document"):
        read_rows(table.drop_columns("h.0"))
    with pytest.raises(SchemaError, match="column unit is int64, expected int32"):
        read_rows(table.set_column(0, "unit", pa.array([1, 2], pa.int64())))
    with pytest.raises(SchemaError, match=r"column h\.0 is .*expected .*"):
        read_rows(with_facts(table, dtype="bfloat16"))


@pytest.mark.parametrize("content", [b"", b"no Arrow in here at all"])
def test_file_that_is_not_arrow_is_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "rows.arrow").write_bytes(content)
    with pytest.raises(SchemaError, match=r"rows\.arrow is not an Arrow IPC file"):
        read_ipc(tmp_path / "rows.arrow")
