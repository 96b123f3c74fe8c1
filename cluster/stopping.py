"""At which block a job that is to stop is saved: a pure decision on where all its parts stand."""

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
