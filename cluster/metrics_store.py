"""What was measured while a job ran, as Parquet in its run folder: `metrics/part-<n>.parquet`.

Long format, one line a number, so that a source may begin to measure something new at any time. A part is written
once, whole, and never changed; a run that is resumed goes on with the next number.
"""

import logging
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from shared.files import write_atomically
from shared.registry_facts import Measurement

log = logging.getLogger(__name__)
FOLDER = "metrics"
MAX_WAITING = 1_000_000
"""Lines that wait in memory while the disk is full, some 150 bytes each; the oldest of more are let go."""
SCHEMA = pa.schema([("time_ms", pa.int64()), ("source", pa.string()), ("field", pa.string()), ("value", pa.float64())])

Line = tuple[int, str, str, float]


class MetricsStore:
    """Gathers measurements, and writes them out when told to. For one thread."""

    def __init__(self, run_folder: Path) -> None:
        self._run_folder = run_folder
        self._lines: list[Line] = []

    def add(self, measurements: list[Measurement]) -> None:
        """Keeps every field that is a number until the next `flush`."""
        self._lines += _lines(measurements)
        del self._lines[:-MAX_WAITING]

    def flush(self) -> None:
        """Writes what was added since the last time as one part, durable when this returns; nothing writes nothing.

        What could not be written, which raises OSError, waits for the next time.
        """
        if not self._lines:
            return
        number = 1 + max((_part_number(path) for path in _parts(self._run_folder)), default=-1)
        part = self._run_folder / FOLDER / f"part-{number}.parquet"
        part.parent.mkdir(parents=True, exist_ok=True)
        sink = pa.BufferOutputStream()
        pq.write_table(_table(self._lines), sink, compression="zstd", write_page_checksum=True)
        write_atomically(part, sink.getvalue().to_pybytes())
        self._lines = []


def read_metrics(
    run_folder: Path, newer: Sequence[Measurement] = (), tell: Callable[[str], None] = log.warning
) -> pa.Table:
    """All parts of a run in order of time, and what is later than they are of `newer`; no lines where there is nothing.

    Every page is compared with its checksum. A part that is damaged is left out, and `tell` is given a sentence.
    """
    tables = [SCHEMA.empty_table()]
    for part in sorted(_parts(run_folder), key=_part_number):
        try:
            tables.append(pq.read_table(part, schema=SCHEMA, page_checksum_verification=True))
        except (pa.ArrowException, OSError) as error:
            reason = str(error).strip().partition("\n")[0]
            tell(f"{part} is damaged, and what it held is left out: {reason}")
    table = pa.concat_tables(tables)
    last_ms = pc.max(table["time_ms"]).as_py() or 0
    if lines := _lines([one for one in newer if one.time_ms > last_ms]):
        table = pa.concat_tables([table, _table(lines)])
    return table.take(pc.sort_indices(table, sort_keys=[("time_ms", "ascending")]))


def _lines(measurements: Sequence[Measurement]) -> list[Line]:
    """One for every field that is a number."""
    return [
        (one.time_ms, one.source, field, float(value))
        for one in measurements
        for field, value in one.fields.items()
        if isinstance(value, (int, float))
    ]


def _table(lines: list[Line]) -> pa.Table:
    columns = zip(*lines, strict=True)
    return pa.table([pa.array(column, one.type) for column, one in zip(columns, SCHEMA, strict=True)], schema=SCHEMA)


def _parts(run_folder: Path) -> list[Path]:
    return [path for path in (run_folder / FOLDER).glob("part-*.parquet") if re.fullmatch(r"part-\d+", path.stem)]


def _part_number(path: Path) -> int:
    return int(path.stem.removeprefix("part-"))
