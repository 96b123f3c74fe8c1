"""The broadcast log of a lane: the blocks that some trainer may still ask for, each held once for all of them.

A block leaves when every trainer has read it and either a complete checkpoint lies behind it or its room is needed.
Where there is a spool, blocks go to disk before any leaves for want of room, the oldest first.
A block that a trainer has not read never leaves, unless all who have not read it yield: when memory and disk are full
of those, the lane waits. What a lane gives last is never in anybody's way, so only full blocks leave unread.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class LoggedBlock:
    """A block and where it is held."""

    number: int
    num_rows: int
    num_bytes: int
    handle: Any
    """What the lane's block store gave for the table: an object reference, or the table itself; None in the spool."""

    @property
    def is_spooled(self) -> bool:
        """Whether it lies on disk."""
        return self.handle is None


class BlockLog:
    """Blocks of one lane in order of their numbers, with a cursor for each reader.

    Not thread-safe: the lane's lock guards it.

    Args:
        max_spool_bytes: how many bytes of blocks may lie on disk.
        discard: told the number of each block that leaves the spool.
        yielding: readers that hold up nobody; of readers that all yield, the foremost does not.
    """

    def __init__(
        self,
        max_bytes: int,
        cursors: dict[str, int],
        max_spool_bytes: int = 0,
        discard: Callable[[int], None] = lambda number: None,
        yielding: frozenset[str] = frozenset(),
    ) -> None:
        self._max_bytes, self._max_spool_bytes, self._discard = max_bytes, max_spool_bytes, discard
        self._wanted_spool_bytes = max_spool_bytes
        self._blocks: OrderedDict[int, LoggedBlock] = OrderedDict()
        self._cursors = dict(cursors)
        self._firm = self._cursors.keys() - yielding
        self._needed_from = 0
        self.num_bytes = 0
        """In memory."""
        self.spool_bytes = 0
        """On disk."""

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

    @property
    def _firm_cursor(self) -> int:
        return min((self._cursors[reader] for reader in self._firm), default=self.furthest)

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
        """Whether a block of that size fits into memory; read blocks make room where there is no spool for them.

        A memory without a block takes any.
        """
        if not self._max_spool_bytes:
            self._drop_while(lambda number: self.num_bytes + num_bytes > self._max_bytes, is_forced=True)
        return not self.num_bytes or self.num_bytes + num_bytes <= self._max_bytes

    def to_spool(self) -> LoggedBlock | None:
        """The block that should go to disk so that memory has room; None when there is no room for it there either."""
        while self._max_spool_bytes:
            oldest = next((block for block in self._blocks.values() if not block.is_spooled), None)
            if oldest is None or self.spool_bytes + oldest.num_bytes <= self._max_spool_bytes:
                return oldest
            if not self._drop_first(is_forced=True):
                return None
        return None

    def spooled(self, number: int) -> None:
        """Block `number` lies on disk now."""
        block = self._blocks.get(number)
        if block is None:  # it was read and let go meanwhile
            self._discard(number)
            return
        self._blocks[number] = replace(block, handle=None)
        self.num_bytes -= block.num_bytes
        self.spool_bytes += block.num_bytes

    def close_spool(self) -> None:
        """Put no more on disk than lies there: it has no room."""
        self._max_spool_bytes = self.spool_bytes

    def open_spool(self) -> None:
        """The disk may have room again."""
        self._max_spool_bytes = self._wanted_spool_bytes

    def append(self, block: LoggedBlock) -> None:
        self._blocks[block.number] = block
        self.num_bytes += block.num_bytes

    def _drop_while(self, wanted: Any, is_forced: bool = False) -> None:
        while self.first is not None and wanted(self.first) and self._drop_first(is_forced):
            pass

    def _drop_first(self, is_forced: bool) -> bool:
        """Lets the lowest block go, if all have read it; forced, if all have who do not yield."""
        needed_from = self._firm_cursor if is_forced else min(self._cursors.values(), default=0)
        if self.first is None or self.first >= needed_from:
            return False
        block = self._blocks.pop(self.first)
        if block.is_spooled:
            self.spool_bytes -= block.num_bytes
            self._discard(block.number)
        else:
            self.num_bytes -= block.num_bytes
        return True
