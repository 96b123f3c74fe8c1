"""The broadcast log of a lane: the blocks that some trainer may still ask for, each held once for all of them.

A block leaves when every trainer has read it and either a complete checkpoint lies behind it or its room is needed.
A block that a trainer has not read never leaves: then the log is full, and the lane waits.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class LoggedBlock:
    """A block and where it is held."""

    number: int
    num_rows: int
    num_bytes: int
    handle: Any
    """What the lane's block store gave for the table: an object reference, or the table itself."""


class BlockLog:
    """Blocks of one lane in order of their numbers, with a cursor for each reader.

    Not thread-safe: the lane's lock guards it.
    """

    def __init__(self, max_bytes: int, cursors: dict[str, int]) -> None:
        self._max_bytes = max_bytes
        self._blocks: OrderedDict[int, LoggedBlock] = OrderedDict()
        self._cursors = dict(cursors)
        self._needed_from = 0
        self.num_bytes = 0

    def __len__(self) -> int:
        return len(self._blocks)

    def get(self, number: int) -> LoggedBlock | None:
        """The block of that number, if it is here."""
        return self._blocks.get(number)

    @property
    def first(self) -> int | None:
        """The lowest number that is here."""
        return next(iter(self._blocks), None)

    @property
    def furthest(self) -> int:
        """The cursor of the reader that is ahead of the others."""
        return max(self._cursors.values(), default=0)

    def cursor(self, reader: str) -> int:
        """The block that `reader` reads next."""
        return self._cursors[reader]

    def lag(self, reader: str) -> int:
        """Blocks here that `reader` has not read."""
        return sum(number >= self._cursors[reader] for number in self._blocks)

    def move(self, reader: str, cursor: int) -> None:
        """`reader` has read all blocks below `cursor`; a restarted one may go back."""
        self._cursors[reader] = cursor
        self._drop_while(lambda number: number < self._needed_from)

    def forget_below(self, number: int) -> None:
        """No restart will ask for blocks below `number`: a complete checkpoint lies there."""
        self._needed_from = number
        self._drop_while(lambda number: number < self._needed_from)

    def has_room(self, num_bytes: int) -> bool:
        """Whether a block of that size fits; read blocks make room. An empty log takes any block."""
        self._drop_while(lambda number: self.num_bytes + num_bytes > self._max_bytes)
        return not self._blocks or self.num_bytes + num_bytes <= self._max_bytes

    def append(self, block: LoggedBlock) -> None:
        self._blocks[block.number] = block
        self.num_bytes += block.num_bytes

    def _drop_while(self, wanted: Any) -> None:
        read_by_all = min(self._cursors.values(), default=0)
        while self._blocks and (first := next(iter(self._blocks))) < read_by_all and wanted(first):
            self.num_bytes -= self._blocks.pop(first).num_bytes
