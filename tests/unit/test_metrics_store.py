"""Measurements on disk: long, whole, numbered on after a resume."""

import pyarrow.parquet as pq
import pytest

from cluster.metrics_store import SCHEMA, MetricsStore, read_metrics
from shared.registry_facts import Measurement


def measured(time_ms, source="lane-0", **fields):
    return Measurement(f"{time_ms}-0", time_ms, source, fields)


def test_numbers_come_back_in_long_format(tmp_path):
    store = MetricsStore(tmp_path)
    store.add([measured(2000, rows_per_s=3.5, emitted=7), measured(1000, "trainer-a", fvu=0.25)])
    store.flush()
    table = read_metrics(tmp_path)
    assert table.schema == SCHEMA
    assert [tuple(row.values()) for row in table.to_pylist()] == [
        (1000, "trainer-a", "fvu", 0.25),
        (2000, "lane-0", "rows_per_s", 3.5),
        (2000, "lane-0", "emitted", 7.0),
    ]


def test_fields_that_are_no_numbers_are_left_out(tmp_path):
    store = MetricsStore(tmp_path)
    store.add([measured(1, state="running", fvu=None, l0=32)])
    store.flush()
    assert read_metrics(tmp_path)["field"].to_pylist() == ["l0"]


def files(folder):
    return {path.name: path.read_bytes() for path in (folder / "metrics").iterdir()}


def write_parts(folder, first_ms, number):
    store = MetricsStore(folder)
    for at in range(number):
        store.add([measured(first_ms + at, l0=at)])
        store.flush()


def test_a_resumed_run_adds_parts_and_changes_none(tmp_path):
    write_parts(tmp_path, 0, 6)
    before = files(tmp_path)
    write_parts(tmp_path, 100, 6)
    assert sorted(files(tmp_path)) == sorted(f"part-{number}.parquet" for number in range(12))
    assert before.items() <= files(tmp_path).items()
    assert read_metrics(tmp_path)["time_ms"].to_pylist() == [*range(6), *range(100, 106)]


def test_flushing_nothing_writes_nothing(tmp_path):
    store = MetricsStore(tmp_path)
    store.flush()
    store.add([measured(1, l0=1)])
    store.flush()
    store.flush()
    assert [path.name for path in (tmp_path / "metrics").iterdir()] == ["part-0.parquet"]


def test_a_part_that_could_not_be_written_is_not_forgotten(tmp_path):
    store = MetricsStore(tmp_path)
    store.add([measured(1, l0=1)])
    (tmp_path / "metrics").write_text("in the way")
    with pytest.raises(FileExistsError):
        store.flush()
    (tmp_path / "metrics").unlink()
    store.flush()
    assert read_metrics(tmp_path)["value"].to_pylist() == [1.0]


def test_a_folder_without_metrics_reads_as_an_empty_table(tmp_path):
    assert read_metrics(tmp_path).num_rows == 0
    assert read_metrics(tmp_path).schema == SCHEMA


def test_leftovers_of_a_crash_are_passed_over(tmp_path):
    store = MetricsStore(tmp_path)
    store.add([measured(1, l0=1)])
    store.flush()
    (tmp_path / "metrics" / ".part-1.parquet.0123456789ab.tmp").write_bytes(b"half")
    assert read_metrics(tmp_path).num_rows == 1
    write_parts(tmp_path, 2, 1)
    assert (tmp_path / "metrics" / "part-1.parquet").exists() and read_metrics(tmp_path).num_rows == 2


@pytest.mark.parametrize("spoil", ["cut short", "a bit turned over", "something else"])
def test_a_damaged_part_is_named_and_left_out(tmp_path, spoil):
    store = MetricsStore(tmp_path)
    for number in range(2):
        store.add([measured(1000 * number + i, l0=i) for i in range(500)])
        store.flush()
    path = tmp_path / "metrics" / "part-0.parquet"
    data = bytearray(path.read_bytes())
    if spoil == "cut short":
        data = data[:-1]
    elif spoil == "something else":
        data = bytearray(b"not parquet")
    else:
        first = pq.read_metadata(path).row_group(0).column(0)
        data[(first.dictionary_page_offset or first.data_page_offset) + first.total_compressed_size - 3] ^= 1
    path.write_bytes(data)
    told: list[str] = []
    assert read_metrics(tmp_path, tell=told.append)["time_ms"].to_pylist() == [*range(1000, 1500)]
    assert len(told) == 1 and told[0].startswith(f"{path} is damaged, and what it held is left out: ")


def test_other_readers_can_read_a_part(tmp_path):
    store = MetricsStore(tmp_path)
    store.add([measured(1, l0=1)])
    store.flush()
    assert pq.read_schema(tmp_path / "metrics" / "part-0.parquet").names == ["time_ms", "source", "field", "value"]


def test_no_part_is_replaced_by_whoever_began_before_it_was_there(tmp_path):
    older, newer = MetricsStore(tmp_path), MetricsStore(tmp_path)
    for number, store in enumerate((newer, older)):
        store.add([measured(number, l0=number)])
        store.flush()
    assert read_metrics(tmp_path)["value"].to_pylist() == [0.0, 1.0]
