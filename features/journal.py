"""A file of JSON lines that only grows: one object a line, durable when `append` returns, never rewritten.

Whoever else writes to it at the same time loses nothing. A line that a crash has cut off stays where it is, alone: it
is passed over, and `damage` names it.
"""

import fcntl
import json
import os
import threading
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any, NamedTuple

Record = dict[str, Any]


class Line(NamedTuple):
    """A record, and where in the file its line begins."""

    offset: int
    record: Record


class Journal:
    """The records of `path` in the order in which they came; a file that is not there has none."""

    def __init__(self, path: Path, required: Collection[str] = (), left_out: Collection[str] = ()) -> None:
        """A line without the `required` keys counts as damaged; `left_out` keys are not kept in memory, see `at`."""
        self.path = path
        self._required, self._left_out = frozenset(required), frozenset(left_out)
        self._lines: list[Line] = []
        self._damage: list[str] = []
        self._read_bytes, self._read_lines = 0, 0
        self._lock = threading.Lock()

    def append(self, records: Iterable[Record]) -> None:
        """Adds `records` at the end, all in one write. Raises ValueError for numbers that JSON has not, such as NaN."""
        text = "".join(json.dumps(one, ensure_ascii=False, allow_nan=False) + "\n" for one in records)
        if not text:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            _write_whole(file.fileno(), (_ending(file.fileno()) + text).encode())
            os.fsync(file.fileno())

    def lines(self) -> list[Line]:
        """Every record that is whole; only what was added since the last call is read."""
        with self._lock:
            self._read_on()
            return list(self._lines)

    def at(self, offset: int) -> Record:
        """The record whose line begins there, read again from the file."""
        with self.path.open("rb") as file:
            file.seek(offset)
            return json.loads(file.readline())

    @property
    def damage(self) -> list[str]:
        """A sentence for each line that cannot be read."""
        self.lines()
        return list(self._damage)

    def _read_on(self) -> None:
        try:
            with self.path.open("rb") as file:
                file.seek(self._read_bytes)
                rest = file.read()
        except FileNotFoundError:
            return
        for raw in rest[: rest.rfind(b"\n") + 1].splitlines(keepends=True):
            self._take(raw)
        cut_off = rest[rest.rfind(b"\n") + 1 :]
        self._damage = [one for one in self._damage if not one.endswith(CUT_OFF)]
        if cut_off:
            self._damage.append(f"{self.path.name} line {self._read_lines + 1}{CUT_OFF}")

    def _take(self, raw: bytes) -> None:
        """One whole line."""
        self._read_lines += 1
        record = _parsed(raw)
        if record is None or not self._required <= record.keys():
            lacks = "it is not a JSON object" if record is None else f"it lacks {min(self._required - record.keys())}"
            self._damage.append(f"{self.path.name} line {self._read_lines} is damaged: {lacks}")
        else:
            kept = {key: value for key, value in record.items() if key not in self._left_out}
            self._lines.append(Line(self._read_bytes, kept))
        self._read_bytes += len(raw)


CUT_OFF = " is cut off"


def _parsed(raw: bytes) -> Record | None:
    try:
        found = json.loads(raw)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _ending(descriptor: int) -> str:
    """What has to be written first: the end of a line that a crash has cut off."""
    size = os.fstat(descriptor).st_size
    return "\n" if size and os.pread(descriptor, 1, size - 1) != b"\n" else ""


def _write_whole(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
