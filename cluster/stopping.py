"""At which block a job that is to stop is saved, and when it has waited long enough: pure decisions."""

import time
from typing import NamedTuple

from shared.errors import HeadraceError
from shared.registry_snapshot import Snapshot


class Held(NamedTuple):
    """A lane that emits nothing for now."""

    next_block: int
    has_ended: bool
    """It has no block of that number, nor a later one."""


class Standing(NamedTuple):
    """What a stop was told by the lanes and trainers, all held, and then by the registry."""

    lanes: list[Held | None]
    """None: it did not answer."""
    cursors: list[int | None]
    """Of the trainers that are at work: the block after the last one that they have begun."""
    snapshot: Snapshot | None


def stop_block(standing: Standing, num_blocks: int) -> int | None:
    """The block below which all have read and emitted, so that all can still come to it; `num_blocks`: just go on.

    None while somebody did not answer: what was handed out by a lane that died since, or read by a trainer that the
    registry did not hear, must not lie beyond it, or the checkpoint would never be whole.
    """
    lanes = [one for one in standing.lanes if one is not None]
    cursors = [one for one in standing.cursors if one is not None]
    if len(lanes) < len(standing.lanes) or len(cursors) < len(standing.cursors) or standing.snapshot is None:
        return None
    if all(one.has_ended for one in lanes):
        return num_blocks
    known = [one.cursor for one in standing.snapshot.trainers.values()]
    ever = [one.high_block for one in standing.snapshot.lanes]
    return min(num_blocks, max([one.next_block for one in lanes] + cursors + known + ever))


class StoppedAtOnce(HeadraceError):
    """A second signal: the job ends without saving more."""

    exit_code = 130

    def __init__(self) -> None:
        super().__init__("stopped at once; what the last checkpoint holds is kept")


class StopWish:
    """That the job is to save and stop, and since when. Any thread and any signal's handler may wish it."""

    def __init__(self) -> None:
        self.by_signal = False
        """A signal said so, and the next one means at once."""
        self.at_once = False
        """There was a second one."""
        self._since_s: float | None = None

    def set(self) -> None:
        """To wish it again changes nothing."""
        if self._since_s is None:
            self._since_s = time.monotonic()

    def is_set(self) -> bool:
        return self._since_s is not None

    def lasts_s(self) -> float:
        """Seconds since it was first wished; 0 if it is not."""
        return 0.0 if self._since_s is None else time.monotonic() - self._since_s


class Standstill(NamedTuple):
    """Where a stop has come to when its time is over."""

    block: int | None
    """At which all were to save, the end of the stream included; None while that was not fixed."""
    late: list[str]
    """Roles that have not saved there."""
    cursors: dict[str, int]
    """Role -> the blocks that it has read, of trainers."""
    trouble: str
    """Why the checkpoint there has no manifest, if something is in the way."""
    saved: int
    """The block of the last complete checkpoint."""


def unsaved(at: Standstill, within_s: float) -> str:
    """What to say of a stop whose time is over: who is late, and what will be done again."""
    where = "" if at.block is None else f" at block {at.block}"
    behind = {role: cursor for role, cursor in at.cursors.items() if at.block is not None and cursor < at.block}
    who = [f"{role} stands at {behind[role]}" if role in behind else f"{role} has not saved" for role in at.late]
    why = f" ({', '.join(filter(None, [*who, at.trouble]))})" if who or at.trouble else ""
    return f"not all could save{where} within {within_s:g} s{why}: what comes after block {at.saved} will be done again"
