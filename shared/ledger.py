"""The ledger of rows: where every row is, and a sentence for each that is not where it must be. Pure.

    pushed = staged + resident + emitted + surplus     of each lane
    pushed <= leased                                   of each lane
    read + gap = rows of the blocks below the cursor   of each trainer

A lane that was restored from a checkpoint is behind the trainers until it has caught up: what trainers have read is
held against the farthest that each lane ever was.
"""

from dataclasses import dataclass

from shared.registry_facts import TrainerCounters
from shared.registry_snapshot import LaneFacts, Snapshot


@dataclass(frozen=True)
class TrainerLedger:
    """What one trainer has read."""

    name: str
    read: int
    gap: int
    """Rows that it passed over."""
    lag_blocks: int
    """Blocks that were emitted and that it has not read."""
    lag_rows: int
    cursor: int
    below_cursor: int | None
    """Rows in the blocks below its cursor; None where one of them was never emitted."""


@dataclass(frozen=True)
class Ledger:
    """Rows of the whole stream; `leased` counts the units whose size is known."""

    leased: int
    pushed: int
    staged: int
    resident: int
    emitted: int
    surplus: int
    trainers: tuple[TrainerLedger, ...]
    lanes: tuple[LaneFacts, ...]
    held_out_contexts: int = 0
    """About how many contexts are in no unit, so that none of their rows is here."""

    def imbalances(self) -> list[str]:
        """A sentence for each thing that does not balance; empty when all does."""
        lanes = [sentence for number, lane in enumerate(self.lanes) for sentence in _lane_imbalances(number, lane)]
        return lanes + [sentence for trainer in self.trainers for sentence in _trainer_imbalances(trainer)]


def ledger(snapshot: Snapshot) -> Ledger:
    """The ledger of one moment."""
    lanes, counters = snapshot.lanes, [lane.counters for lane in snapshot.lanes]
    return Ledger(
        leased=sum(lane.announced for lane in lanes),
        pushed=sum(lane.pushed for lane in counters),
        staged=sum(lane.staged for lane in counters),
        resident=sum(lane.resident for lane in counters),
        emitted=sum(lane.emitted for lane in counters),
        surplus=sum(lane.surplus for lane in counters),
        trainers=tuple(_trainer(name, one, snapshot) for name, one in snapshot.trainers.items()),
        lanes=lanes,
        held_out_contexts=snapshot.job.held_out_contexts,
    )


def blocks_below(cursor: int, lane: int, num_lanes: int) -> int:
    """How many of the blocks 0 … cursor-1 come from `lane`, which emits `lane`, `lane + num_lanes`, …"""
    return max(0, -(-(cursor - lane) // num_lanes))


def rows_below(cursor: int, lanes: tuple[LaneFacts, ...], block_rows: int) -> int | None:
    """Rows in the blocks 0 … cursor-1; None where one was never emitted. Only a lane's last block may be short."""
    total = 0
    for number, lane in enumerate(lanes):
        read, emitted = (blocks_below(block, number, len(lanes)) for block in (cursor, lane.high_block))
        if read > emitted and not lane.high_ended:
            return None
        total += lane.high_emitted if read >= emitted else read * block_rows
    return total


def _trainer(name: str, one: TrainerCounters, snapshot: Snapshot) -> TrainerLedger:
    lanes = snapshot.lanes
    emitted = sum(blocks_below(lane.high_block, number, len(lanes)) for number, lane in enumerate(lanes))
    rows = sum(lane.high_emitted for lane in lanes)
    below = rows_below(one.cursor, lanes, snapshot.job.block_rows)
    lag_rows = rows - below if below is not None else 0
    return TrainerLedger(name, one.rows, one.gap_rows, max(0, emitted - one.cursor), lag_rows, one.cursor, below)


def _lane_imbalances(number: int, lane: LaneFacts) -> list[str]:
    one, found = lane.counters, []
    if one.pushed != one.staged + one.resident + one.emitted + one.surplus:
        found.append(
            f"lane-{number}: {one.pushed} rows pushed, but {one.staged} staged + {one.resident} resident"
            f" + {one.emitted} emitted + {one.surplus} surplus"
        )
    if one.pushed > lane.announced:
        found.append(f"lane-{number}: {one.pushed} rows pushed, but units of only {lane.announced} were leased")
    return found


def _trainer_imbalances(one: TrainerLedger) -> list[str]:
    if one.below_cursor is None:
        return [f"trainer-{one.name}: its cursor {one.cursor} is beyond the blocks that were emitted"]
    if one.read + one.gap != one.below_cursor:
        return [
            f"trainer-{one.name}: {one.read} rows read + {one.gap} passed over,"
            f" but the blocks below its cursor {one.cursor} hold {one.below_cursor}"
        ]
    return []
