"""Puts the chunks of units that finish in any order back into unit order.

Units count from 0 within their lane. What lies here belongs to units after the head, or to the head and awaits room.
A chunk that was taken once is a duplicate ever after, so a unit may be done again from its beginning at any time.
"""

from collections import deque
from dataclasses import dataclass, field
from enum import Enum

import numpy as np


class Turn(Enum):
    """What to do with a chunk that has come in."""

    TAKE = "take"
    """It is the next of its unit."""
    DUPLICATE = "duplicate"
    """It has been taken already."""
    WAIT = "wait"
    """An earlier chunk of its unit must be taken first."""


@dataclass
class _Unit:
    next_chunk: int = 0
    complete: bool = False
    pieces: deque[np.ndarray] = field(default_factory=deque)


class Reorder:
    """Chunks in, slots of rows out: strictly by unit, then by chunk, then by row.

    `head` is the first unit that is not taken out whole, `head_rows_out` how many of its rows have gone; the two are
    all that a checkpoint needs, since a unit that is done again gives the same rows.
    """

    def __init__(self, head: int = 0, head_rows_out: int = 0) -> None:
        self.head = head
        self.head_rows_out = head_rows_out
        self._to_drop = head_rows_out
        self._units: dict[int, _Unit] = {}
        self.num_rows = 0
        """Rows that are here."""

    def turn(self, unit: int, chunk: int) -> Turn:
        """What to do with chunk `chunk` of unit `unit`."""
        if unit < self.head:
            return Turn.DUPLICATE
        state = self._units.get(unit, _Unit())
        if state.complete or chunk < state.next_chunk:
            return Turn.DUPLICATE
        return Turn.TAKE if chunk == state.next_chunk else Turn.WAIT

    def rows_to_drop(self, unit: int, num_rows: int) -> int:
        """Of the chunk that `turn` said to take: how many rows at its start went out before the last restore."""
        return min(self._to_drop, num_rows) if unit == self.head else 0

    def add(self, unit: int, chunk: int, slots: np.ndarray, dropped: int, last: bool) -> None:
        """Take in a chunk whose rows, after the `dropped` first ones, lie in `slots`."""
        assert self.turn(unit, chunk) is Turn.TAKE, (unit, chunk)
        state = self._units.setdefault(unit, _Unit())
        state.next_chunk += 1
        state.complete = last
        if dropped:
            self._to_drop -= dropped
        if len(slots):
            state.pieces.append(slots)
            self.num_rows += len(slots)

    def skip(self, unit: int) -> None:
        """Expect nothing more of `unit`, which was set aside."""
        if unit >= self.head:
            self._units.setdefault(unit, _Unit()).complete = True
            self._to_drop = 0 if unit == self.head else self._to_drop

    def waiting_at_head(self) -> int:
        """Rows of the head unit that could go out now."""
        self._advance()
        return sum(map(len, self._units[self.head].pieces)) if self.head in self._units else 0

    def take_out(self, max_rows: int) -> list[np.ndarray]:
        """Slots of up to `max_rows` rows that are next in order; moves the head past units that are out whole."""
        taken: list[np.ndarray] = []
        while True:
            self._advance()
            pieces = self._units[self.head].pieces if self.head in self._units else None
            if not pieces or max_rows == 0:
                return taken
            piece = pieces.popleft()
            if len(piece) > max_rows:
                pieces.appendleft(piece[max_rows:])
                piece = piece[:max_rows]
            taken.append(piece)
            max_rows -= len(piece)
            self.head_rows_out += len(piece)
            self.num_rows -= len(piece)

    def clear(self) -> list[np.ndarray]:
        """Slots of all rows that are here, which are thereby let go of."""
        slots = [piece for unit in self._units.values() for piece in unit.pieces]
        for unit in self._units.values():
            unit.pieces.clear()
        self.num_rows = 0
        return slots

    def _advance(self) -> None:
        while self.head in self._units and self._units[self.head].complete and not self._units[self.head].pieces:
            del self._units[self.head]
            self.head += 1
            self.head_rows_out = self._to_drop = 0
