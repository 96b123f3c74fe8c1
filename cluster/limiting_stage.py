"""Which stage bounds the stream at this moment. Pure."""

from dataclasses import dataclass

from cluster.wording import percent, plural
from shared.config import Job
from shared.job_state import JobState
from shared.registry_facts import TrainerCounters
from shared.registry_snapshot import LaneFacts, Snapshot

STOCK_BLOCKS = 2
"""Blocks ready for a trainer that show it to be behind: the one that it works on may still count as unread."""
ENDED = frozenset({"finished", "detached", "stopped", "failed", "removed"})
"""States of a trainer that reads no more."""
STREAMING = frozenset({JobState.RUNNING, JobState.DEGRADED, JobState.DRAINING})


@dataclass(frozen=True)
class LimitingStage:
    """A stage, and the observation that shows it to be the slowest."""

    stage: str
    """`producers`, `lane-<i>` or `trainer-<name>`."""
    reason: str


def limiting_stage(snapshot: Snapshot, job: Job) -> LimitingStage | None:
    """The last stage of the stream that has work waiting in front of it; None while nothing streams.

    In a chain of queues, whatever comes after the slowest stage waits for it, and what lies before it piles up. So,
    from the stream's end back to its beginning:

    1. The trainer with the lowest cursor, if at least `STOCK_BLOCKS` blocks are ready for it. If the oldest block of a
       log without room for one more is also one that it has not read, it holds up every other stage too.
    2. The lane that is furthest behind, if its reservoir is full, or all its rows are in, or rows of its next unit
       wait for room: it has what it needs for another block.
    3. Else the producers: that lane wants rows, and they do not come.
    """
    active = {name: one for name, one in snapshot.trainers.items() if one.state not in ENDED}
    if snapshot.job.state not in STREAMING or not active or not snapshot.lanes:
        return None
    name = min(active, key=lambda trainer: active[trainer].cursor)
    stock = blocks_ready(snapshot.lanes) - active[name].cursor
    if stock >= STOCK_BLOCKS:
        return _trainer(name, active[name], stock, snapshot, job)
    number = min(range(len(snapshot.lanes)), key=lambda lane: _next_block(snapshot.lanes[lane]))
    if lane_is_supplied(number, snapshot, job):
        return LimitingStage(f"lane-{number}", "it has the rows for its next block, and trainers wait for it")
    return _producers(snapshot.lanes[number], job)


def blocks_ready(lanes: tuple[LaneFacts, ...]) -> int:
    """How many blocks, from block 0 on, have come without a gap; the lanes take turns, so the last one decides."""
    open_lanes = [_next_block(lane) for lane in lanes if not lane.counters.has_ended]
    return min(open_lanes) if open_lanes else max(_next_block(lane) for lane in lanes) - len(lanes) + 1


def log_is_full(lane: LaneFacts, num_lanes: int, max_bytes: int) -> bool:
    """Whether log and spool have no room for one more block; a lane counts a block up to one turn before its bytes."""
    one = lane.counters
    num_blocks, num_bytes = (one.next_block - one.log_first_block) // num_lanes, one.log_bytes + one.spool_bytes
    return num_blocks > 0 and num_bytes + 2 * num_bytes // num_blocks > max_bytes


def lane_is_supplied(number: int, snapshot: Snapshot, job: Job) -> bool:
    """Whether nothing but the lane itself keeps it from its next block."""
    one = snapshot.lanes[number].counters
    return one.satisfied or one.resident >= job.stream.buffer_rows or _rows_wait_at_head(number, snapshot)


def _rows_wait_at_head(number: int, snapshot: Snapshot) -> bool:
    """Whether rows that are staged belong to the unit whose turn it is; others wait for that unit, not for the lane."""
    num_lanes, units = len(snapshot.lanes), snapshot.units
    head = number + num_lanes * snapshot.lanes[number].counters.head
    begun = {unit for unit in (*units.leased, *units.finished) if unit % num_lanes == number}
    return snapshot.lanes[number].counters.staged > 0 and (head in units.finished or begun <= {head})


def _trainer(name: str, one: TrainerCounters, stock: int, snapshot: Snapshot, job: Job) -> LimitingStage:
    blocks = f"{plural(stock, 'block')} {'is' if stock == 1 else 'are'} ready for it"
    if one.state not in ("running", "starting"):
        blocks = f"it is {one.state}, and {blocks}"
    for number, lane in enumerate(snapshot.lanes):
        unread = lane.counters.log_first_block >= one.cursor
        if unread and log_is_full(lane, len(snapshot.lanes), job.stream.log_bytes + job.stream.spool_bytes):
            return LimitingStage(f"trainer-{name}", f"{blocks}; the log of lane-{number} is full, so all others wait")
    return LimitingStage(f"trainer-{name}", blocks)


def _producers(lane: LaneFacts, job: Job) -> LimitingStage:
    if lane.counters.emitted == 0:
        filled = lane.counters.resident / job.stream.buffer_rows
        return LimitingStage("producers", f"the first reservoir fills, {percent(filled)} so far")
    return LimitingStage("producers", "lanes and trainers wait for rows")


def _next_block(lane: LaneFacts) -> int:
    """The farthest ever: while a restored lane catches up, trainers still have what it gave before."""
    return max(lane.counters.next_block, lane.high_block)
