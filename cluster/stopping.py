"""At which block a job that is to stop is saved, and when it has waited long enough: pure decisions."""

from typing import NamedTuple

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


class Window:
    """The time that a stop leaves, from when it was first seen to be asked for. Seconds are of the monotonic clock."""

    def __init__(self, within_s: float) -> None:
        self.within_s = within_s
        self._asked_s: float | None = None

    def asked(self, now_s: float) -> None:
        """A stop is wanted; to be told of it again changes nothing."""
        if self._asked_s is None:
            self._asked_s = now_s

    def is_over(self, now_s: float) -> bool:
        return self._asked_s is not None and now_s - self._asked_s > self.within_s


def unsaved(snapshot: Snapshot | None, block: int | None, window: Window, saved: int) -> str:
    """What to say of a stop whose window is over: who has not come to `block`, and that `saved` is the last one."""
    behind = [
        f"trainer-{name} stands at {one.cursor}"
        for name, one in (snapshot.trainers.items() if snapshot else ())
        if block is not None and one.cursor < block
    ]
    where = "not all could save" if block is None else f"not all could save at block {block}"
    who = f" ({', '.join(behind)})" if behind else ""
    return f"{where} within {window.within_s:g} s{who}: what comes after block {saved} will be done again"
