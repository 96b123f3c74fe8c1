"""A shuffling buffer: reorder stage, reservoir and block log of one lane.

What must stay true: the blocks are a function of the units' rows, the seed and the lane's number alone. The reservoir
is filled to exactly R rows before each block is drawn (less only when the lane's share of the budget, or the corpus,
has been admitted whole), so neither producers' speed nor readers' pace can be seen in a block.

Pushes copy rows in and return: from then on nothing depends on the producer. A full log stops `pump`, a full
reservoir stops the head, and a head that stands still stops the leases of this lane's units. A push of a leased unit
does not wait for trainers: a producer that did would keep rows from another lane for which the trainers wait.
"""

import json
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from shared.block_log import BlockLog, LoggedBlock
from shared.disk import free_bytes, room_for
from shared.errors import CheckpointError, DiskFull, JobFailed, LaneClosed, SpoolDamaged, StaleToken
from shared.registry_facts import LaneCounters
from shared.reorder import Reorder, Turn
from shared.reservoir import Reservoir
from shared.row_table import RowFormat, Rows
from shared.spool import Spool
from shared.stream_plan import StreamPlan

log = logging.getLogger(__name__)
UNSPOOLED_KEPT = 2
"""Blocks from disk that stay in memory after they were asked for."""
HEAD_STALL_S = 300.0
"""A chunk that finds no slot for this long, while the head unit does not move, ends the job rather than hang."""
DISK_RETRY_S = 5.0
"""Between two tries to write to a disk that was full."""


class Ack(Enum):
    """What became of a pushed chunk."""

    TAKEN = "taken"
    DUPLICATE = "duplicate"
    SURPLUS = "surplus"
    """Beyond the token budget; counted and let go."""


class LaneEnd(Enum):
    """Why `fetch` gives no block."""

    NOT_YET = "not yet"
    GONE = "gone"
    """The log does not reach back that far any more."""
    DAMAGED = "damaged"
    """It lies in the spool, and is not what was written."""
    FINISHED = "finished"
    """The lane gives no block of that number, now or later."""


@dataclass(frozen=True)
class LaneSizes:
    """Memory of a lane, in rows and bytes."""

    buffer_rows: int
    chunk_rows: int
    """Most rows in one chunk."""
    num_slots: int
    """Rows of address space: the reservoir, one chunk of the head unit, and the units ahead of it."""
    log_bytes: int
    spool_bytes: int = 0


class Lane:
    """One lane, thread-safe; `pump` runs in one thread, `push` and `fetch` in many.

    Args:
        cursors: reader -> the block that it reads next.
        put: stores a block's table and gives a handle; what it is given may be overwritten once it returns.
        publish: makes counts known; False when it could not. What is not known is not handed out.
        yielding: readers that hold up nobody.
        spool: where blocks go that the log has no room for in memory.
        get: the table that `put` gave a handle for.
        save_part: told of each barrier's block number, while the lane's state is that of the barrier; may call `save`;
            raises DiskFull if there is no room.
    """

    def __init__(
        self,
        index: int,
        plan: StreamPlan,
        row_format: RowFormat,
        sizes: LaneSizes,
        seed: int,
        num_units: int,
        cursors: dict[str, int],
        put: Callable[[pa.Table], Any],
        publish: Callable[[LaneCounters], bool] = lambda counts: True,
        save_part: Callable[[int], None] = lambda block: None,
        yielding: frozenset[str] = frozenset(),
        spool: Spool | None = None,
        get: Callable[[Any], pa.Table] = lambda handle: handle,
    ) -> None:
        self.index, self._plan, self._format, self._sizes = index, plan, row_format, sizes
        self._put, self._publish, self._save_part, self._spool, self._get = put, publish, save_part, spool, get
        self._num_units = plan.lane_units(index, num_units)
        self._budget = plan.lane_rows(index)
        self._reservoir = Reservoir(row_format, sizes.num_slots, (seed, index))
        self._reorder = Reorder()
        if spool is None:
            self._log = BlockLog(sizes.log_bytes, cursors, yielding=yielding)
        else:
            self._log = BlockLog(sizes.log_bytes, cursors, sizes.spool_bytes, spool.drop, yielding)
        self._unspooled: OrderedDict[int, Any] = OrderedDict()
        self._trouble = {"save": "", "spool": ""}
        self._spool_closed_s = 0.0
        self._tokens: dict[str, int] = {}
        self._lock = threading.Condition()
        self._block = row_format.empty(plan.block_rows)
        self._admitted = self._emitted = self._surplus = self._drawn = 0
        self._pushed = 0
        self._next_block = index
        self._told_below, self._told_end = 0, False
        """What the registry knows: that there are the blocks below this one, and that there will be no more."""
        self._next_barrier = 0
        self._stop_at: int | None = None
        self._held = self._stopped = False
        self._block_contexts = 0.0
        self._closed = False
        self.oldest_lease = 0
        """Leases with older tokens were given before the stream was put where this lane began."""

    def push(self, unit: int, chunk: int, num_chunks: int, token: int, table: pa.Table) -> Ack:
        """Take in chunk `chunk` of unit `unit`; returns when its rows are copied, which is the sender's credit.

        Raises:
            StaleToken: the unit has been given to another producer, which has begun to push it.
            SchemaError: the table is not of this job's format.
        """
        rows = self._format.rows(table)
        local, last = unit // self._plan.lanes, chunk + 1 == num_chunks
        with self._lock:
            slots, dropped, verdict = self._reserve(local, unit, chunk, token, rows.num_rows, last)
        if slots is None:
            return verdict
        self._reservoir.write(slots, rows.slice(dropped, dropped + len(slots)))
        with self._lock:
            if self._reorder.turn(local, chunk) is not Turn.TAKE:  # a newer producer was faster by a copy
                self._reservoir.release(slots)
                return Ack.DUPLICATE
            self._pushed += len(slots)
            self._reorder.add(local, chunk, slots, dropped, last)
            self._lock.notify_all()
        return Ack.TAKEN

    def _reserve(
        self, local: int, unit: int, chunk: int, token: int, num_rows: int, last: bool
    ) -> tuple[np.ndarray | None, int, Ack]:
        waited_since, head = time.monotonic(), self._reorder.head
        while True:
            self._check_token(f"unit {unit}", token)
            if token < self.oldest_lease:
                raise StaleToken(f"unit {unit}: token {token} is of a stream before this one")
            turn = self._reorder.turn(local, chunk)
            if turn is Turn.DUPLICATE:
                return None, 0, Ack.DUPLICATE
            if turn is Turn.TAKE and self._satisfied():
                self._let_go(local, chunk, num_rows, last)
                return None, 0, Ack.SURPLUS
            dropped = self._reorder.rows_to_drop(local, num_rows)
            if turn is Turn.TAKE and self._has_room(local, num_rows - dropped):
                return self._reservoir.take_free(num_rows - dropped), dropped, Ack.TAKEN
            if self._reorder.head != head or local == self._reorder.head:
                waited_since, head = time.monotonic(), self._reorder.head
            if time.monotonic() - waited_since > HEAD_STALL_S:
                raise JobFailed(
                    f"unit {unit} finds no room in lane {self.index} and the unit before it does not come; "
                    "its documents are far larger than the rest: lower corpus.unit_contexts"
                )
            self._lock.wait(1.0)

    def _let_go(self, local: int, chunk: int, num_rows: int, last: bool) -> None:
        """Count a chunk that lies beyond the budget, once."""
        dropped = self._reorder.rows_to_drop(local, num_rows)
        self._reorder.add(local, chunk, np.empty(0, np.int64), dropped, last)
        self._pushed += num_rows - dropped
        self._surplus += num_rows - dropped
        self._lock.notify_all()

    def _has_room(self, local: int, num_rows: int) -> bool:
        if local == self._reorder.head:
            return num_rows <= self._reservoir.num_free
        for_those_before = self._sizes.buffer_rows - self._reservoir.num_live - self._drawn + self._sizes.chunk_rows
        return num_rows <= self._reservoir.num_free - for_those_before

    def _check_token(self, role: str, token: int) -> None:
        if self._closed:
            raise LaneClosed(f"lane {self.index} is closed")
        if token < self._tokens.get(role, 0):
            raise StaleToken(f"{role}: token {token} is stale, {self._tokens[role]} is in force")
        self._tokens[role] = token

    def fetch(self, reader: str, token: int, cursor: int, wanted: int, timeout_s: float) -> LoggedBlock | LaneEnd:
        """Block `wanted`, waiting for it up to `timeout_s`; `reader` has read all blocks below `cursor`.

        Raises:
            StaleToken: `reader` has been restarted and the newer one has asked already.
        """
        assert wanted % self._plan.lanes == self.index
        found = self._await_block(reader, token, cursor, wanted, time.monotonic() + timeout_s)
        return self._unspool(found) if isinstance(found, LoggedBlock) and found.is_spooled else found

    def _await_block(self, reader: str, token: int, cursor: int, wanted: int, deadline: float) -> LoggedBlock | LaneEnd:
        with self._lock:
            self._move(reader, token, cursor)
            while True:
                if wanted < self._told_below:
                    return self._log.get(wanted) or LaneEnd.GONE
                if self._told_end:
                    return LaneEnd.FINISHED
                left = deadline - time.monotonic()
                if left <= 0 or not self._lock.wait(left):
                    return LaneEnd.NOT_YET
                self._check_token(reader, token)

    def _unspool(self, block: LoggedBlock) -> LoggedBlock | LaneEnd:
        """A block from disk; the last few are kept, since several readers ask for the same ones."""
        assert self._spool is not None
        with self._lock:
            handle = self._unspooled.get(block.number)
        if handle is None:
            try:
                handle = self._put(self._spool.read(block.number))
            except SpoolDamaged as error:
                log.error("lane=%d %s", self.index, error)
                return LaneEnd.DAMAGED
            with self._lock:
                self._unspooled[block.number] = handle
                while len(self._unspooled) > UNSPOOLED_KEPT:
                    self._unspooled.popitem(last=False)
        return replace(block, handle=handle)

    def read_below(self, reader: str, token: int, cursor: int) -> None:
        """`reader` has read all blocks below `cursor`: said at once, since a fetch that waits cannot say it."""
        with self._lock:
            self._move(reader, token, cursor)

    def _move(self, reader: str, token: int, cursor: int) -> None:
        """Only a restarted reader goes back: of one process's calls an older one may be heard after a newer one."""
        is_new = token > self._tokens.get(reader, 0)
        self._check_token(reader, token)
        self._log.move(reader, cursor if is_new else max(cursor, self._log.cursor(reader)))
        self._lock.notify_all()

    def pump(self, timeout_s: float = 1.0) -> None:
        """One turn of the lane's own thread: admit what is next in order, then save, emit, or wait."""
        with self._lock:
            self._admit()
            self._try_disk_again()
            is_told = self._tell_what_is_untold()
            barrier = self._due_barrier()
            due_rows = self._due_rows() if barrier is None and is_told else 0
            slots = self._draw(due_rows) if due_rows else None
            too_much = self._log.to_spool() if due_rows and slots is None else None
            if barrier is None and slots is None and too_much is None:
                self._lock.wait(timeout_s)
        if barrier is not None:
            self._pass_barrier(barrier)
        elif slots is not None:
            self._emit(slots)
        elif too_much is not None:
            self._put_on_disk(too_much)

    def _admit(self) -> None:
        room = min(self._sizes.buffer_rows - self._reservoir.num_live, self._budget - self._admitted)
        before = self._reorder.head
        for slots in self._reorder.take_out(room):
            self._reservoir.admit(slots)
            self._admitted += len(slots)
        if self._satisfied():
            self._drop_surplus()
        if self._reorder.head != before:
            self._tell()
        self._lock.notify_all()

    def _drop_surplus(self) -> None:
        """Let go of what lies beyond the budget, so that every row is accounted for."""
        for slots in self._reorder.clear():
            self._reservoir.release(slots)
            self._surplus += len(slots)

    def _due_rows(self) -> int:
        """Rows of the next block; 0 when it is not due."""
        live = self._reservoir.num_live
        complete = self._satisfied() or self._corpus_ended()
        if self._held or self._stopped or not live or (live < self._sizes.buffer_rows and not complete):
            return 0
        return min(self._plan.block_rows, live)

    def _draw(self, num_rows: int) -> np.ndarray | None:
        """Slots of the next block, if the log has room."""
        if not self._log.has_room(num_rows * self._format.row_bytes):
            return None
        self._drawn = num_rows
        return self._reservoir.draw(num_rows)

    def _put_on_disk(self, block: LoggedBlock) -> None:
        assert self._spool is not None
        try:
            with room_for(f"block {block.number} of lane {self.index}", self._spool.folder):
                self._spool.write(block.number, self._get(block.handle))
        except (DiskFull, OSError, pa.ArrowException) as error:
            log.warning("lane=%d the spool takes no more: %s", self.index, error)
            with self._lock:
                self._log.close_spool()
                self._spool_closed_s, self._trouble["spool"] = time.monotonic(), str(error)
            return
        with self._lock:
            self._log.spooled(block.number)

    def _try_disk_again(self) -> None:
        """A spool that was closed for want of room is opened again when there is some."""
        if not self._trouble["spool"] or time.monotonic() - self._spool_closed_s < DISK_RETRY_S:
            return
        assert self._spool is not None
        self._spool_closed_s = time.monotonic()
        if free_bytes(self._spool.folder) > 2 * self._plan.block_rows * self._format.row_bytes:
            self._trouble["spool"] = ""
            self._log.open_spool()

    def _emit(self, slots: np.ndarray) -> None:
        rows = self._block.slice(0, len(slots))
        self._reservoir.gather(slots, rows)
        number = self._next_block
        table = self._format.table(rows, block=number, lane=self.index)
        handle = self._put(table)
        contexts = distinct_contexts(rows)
        with self._lock:
            self._reservoir.release(slots)
            self._emitted += len(slots)
            self._drawn = 0
            self._next_block += self._plan.lanes
            self._block_contexts = contexts
            self._log.append(LoggedBlock(number, len(slots), len(slots) * self._format.row_bytes, handle))
            self._tell()
            self._lock.notify_all()

    def _satisfied(self) -> bool:
        return self._admitted >= self._budget

    def _corpus_ended(self) -> bool:
        return self._reorder.head >= self._num_units

    def _finished(self) -> bool:
        return (self._satisfied() or self._corpus_ended()) and not self._reservoir.num_live and not self._drawn

    def _due_barrier(self) -> int | None:
        """The barrier that must be saved before another block is drawn.

        A lane that has ended is at every barrier that some reader has come to, and at that of a stop at once.
        """
        ended, stop = self._finished(), self._stop_at
        if self._stopped:
            return None
        reached = self._log.furthest if ended else self._next_block
        if self._next_barrier <= min(reached, self._plan.num_blocks - 1 if stop is None else stop):
            return self._next_barrier
        return stop if stop is not None and (ended or stop <= self._next_block) else None

    def _pass_barrier(self, block: int) -> None:
        """Save at a barrier. Where the disk is full it goes by unsaved, but for the one that all stop at."""
        try:
            self._save_part(block)
            self._trouble["save"] = ""
        except DiskFull as error:
            log.warning("lane=%d %s", self.index, error)
            with self._lock:
                self._trouble["save"] = str(error)
                if block == self._stop_at:
                    self._lock.wait(DISK_RETRY_S)
                    return
        with self._lock:
            if block == self._stop_at:
                self._stopped = True
            if block == self._next_barrier:
                self._next_barrier += self._plan.every_blocks
            self._lock.notify_all()

    def skip_unit(self, unit: int) -> None:
        """Expect nothing more of `unit`, which was set aside."""
        with self._lock:
            self._reorder.skip(unit // self._plan.lanes)
            self._lock.notify_all()

    def hold(self) -> int:
        """Emit nothing until `stop_at`; returns the number of the next block, which is then final."""
        with self._lock:
            self._held = True
            while self._drawn:
                self._lock.wait(1.0)
            return self._next_block

    def stop_at(self, block: int) -> None:
        """Emit the blocks below `block`, save as at a barrier there, emit no more; at the stream's end just end."""
        with self._lock:
            self._held = False
            self._stop_at = block if block < self._plan.num_blocks else None
            self._lock.notify_all()

    @property
    def stopped(self) -> bool:
        """Whether the state that `stop_at` asked for has been saved."""
        return self._stopped

    def checkpoint_complete(self, block: int) -> None:
        """Checkpoint `block` can be gone back to: earlier blocks need not be kept."""
        with self._lock:
            self._log.forget_below(block)
            self._lock.notify_all()

    def close(self) -> None:
        """Refuse all calls from now on and wake those that wait."""
        with self._lock:
            self._closed = True
            self._lock.notify_all()

    def counts(self) -> LaneCounters:
        """The lane's ledger at this moment."""
        with self._lock:
            return self._counts()

    def publish_now(self) -> LaneCounters:
        """Publishes the ledger of this moment; between blocks nothing else does."""
        with self._lock:
            return self._tell()

    def _tell(self) -> LaneCounters:
        """Publishes the ledger of this moment; trainers may have what it tells of."""
        counters = self._counts()
        if self._publish(counters):
            self._told_below = counters.next_block
            self._told_end = counters.has_ended
            self._lock.notify_all()
        return counters

    def _tell_what_is_untold(self) -> bool:
        """Whether the registry knows of every block that is here; the lane stands while it cannot be told."""
        if self._told_below < self._next_block or self._told_end < self._finished():
            self._tell()
        return self._told_below == self._next_block

    def _counts(self) -> LaneCounters:
        waiting = self._reorder.waiting_at_head()  # first, since it moves the head past a unit that is out whole
        return LaneCounters(
            head=self._reorder.head,
            open_rows=self._reorder.head_rows_out + waiting,
            pushed=self._pushed,
            staged=self._reorder.num_rows,
            resident=self._reservoir.num_live + self._drawn,
            emitted=self._emitted,
            surplus=self._surplus,
            next_block=self._next_block,
            satisfied=self._satisfied() or self._corpus_ended(),
            block_contexts=self._block_contexts,
            log_first_block=self._next_block if self._log.first is None else self._log.first,
            log_bytes=self._log.num_bytes,
            spool_bytes=self._log.spool_bytes,
            trouble="; ".join(filter(None, self._trouble.values())),
        )

    @property
    def finished(self) -> bool:
        """Whether the lane has emitted all that it ever will."""
        with self._lock:
            return self._finished()

    def save(self, folder: Path) -> LaneCounters:
        """Write the state of this moment; called from `save_part`, in the thread of `pump`, which alone changes it.

        Returns:
            the counters of a lane that goes on from this state: what is staged, or beyond the budget, is not in it.
        """
        with self._lock:
            counters = self._counts()
            state: dict[str, Any] = {
                "head": self._reorder.head,
                "head_rows_out": self._reorder.head_rows_out,
                "admitted": self._admitted,
                "emitted": self._emitted,
                "next_block": self._next_block,
            }
        state["generator"] = self._reservoir.save(folder / "reservoir.arrow")
        (folder / "lane.json").write_text(json.dumps(state))
        return replace(
            counters, staged=0, surplus=0, pushed=state["admitted"], open_rows=state["head_rows_out"], trouble=""
        )

    def restore(self, folder: Path, barrier: int) -> None:
        """Go on from what `save` wrote at `barrier`; before anything else is asked of the lane."""
        try:
            state = json.loads((folder / "lane.json").read_text())
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{folder / 'lane.json'}: {error}") from error
        self._reservoir.restore(folder / "reservoir.arrow", state["generator"])
        self._reorder = Reorder(state["head"], state["head_rows_out"])
        self._admitted, self._emitted = state["admitted"], state["emitted"]
        self._pushed = self._admitted
        self._next_block = state["next_block"]
        self._next_barrier = self._plan.next_barrier(barrier + 1)


def distinct_contexts(rows: Rows) -> float:
    """How many different contexts the rows come from: the measure of mixing that the status shows."""
    keys = rows.addresses[:, 0].astype(np.int64) << 32 | rows.addresses[:, 2]
    keys.sort()  # a tenth of the time of np.unique
    return float(np.count_nonzero(np.diff(keys)) + 1) if len(keys) else 0.0
