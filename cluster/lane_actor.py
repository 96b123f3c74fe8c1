"""A lane as a Ray actor: it owns the blocks as objects, so that trainers of one node share one copy of each."""

import logging
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import ray

from cluster.gauges import Gauges
from cluster.lane_client import FetchedBlock
from cluster.leftovers import drop_leftovers
from cluster.part_files import write_part
from cluster.patience import if_reachable, patiently
from cluster.rate import Rate
from cluster.seat import Seat, prepare_process
from cluster.stopping import Held
from shared.disk import room_for
from shared.errors import StaleToken
from shared.files import first_folder
from shared.lane import Ack, Lane, LaneEnd, LaneSizes
from shared.lease_keeper import LeaseKeeper
from shared.registry_facts import LaneCounters
from shared.row_table import RowFormat
from shared.spool import Spool
from shared.stream_plan import StreamPlan

log = logging.getLogger(__name__)
REPORT_S = 1.0


@dataclass(frozen=True)
class LaneStart:
    """Where a new lane actor begins."""

    cursors: dict[str, int]
    """Reader -> the block that it reads next."""
    oldest_lease: int
    """Leases with older tokens were given before the stream was put here."""
    part: Path | None = None
    """What the lane saved at `barrier`; None begins at block 0."""
    barrier: int = 0


class LaneActor:
    """Runs one `Lane`; calls of each kind have threads of their own, so none waits behind another."""

    def __init__(
        self, seat: Seat, index: int, row_format: RowFormat, sizes: LaneSizes, num_units: int, start: LaneStart
    ) -> None:
        """Restores before anyone can call: a push that came between would be taken in and then forgotten."""
        self._seat, self._index, self._job = seat, index, seat.job
        prepare_process(seat)
        self._registry = seat.open_registry()
        self._gauges, self._rate, self._reported = Gauges(seat.job.name, seat.role), Rate(), Rate()
        self._expected_parts = seat.job.stream.lanes + len(seat.job.trainers)
        self._lane = Lane(
            index,
            StreamPlan.of(seat.job),
            row_format,
            sizes,
            seat.job.seed,
            num_units,
            start.cursors,
            put=ray.put,
            publish=self._publish,
            save_part=self._save_part,
            yielding=frozenset(one.name for one in seat.job.trainers if one.lag_policy == "detach"),
            spool=Spool(seat.spool_folder) if sizes.spool_bytes else None,
            get=ray.get,
        )
        self._lane.oldest_lease = start.oldest_lease
        if start.part is not None:
            self._lane.restore(start.part, start.barrier)
            log.info("lane=%d restored_from=%d", index, start.barrier)
        self._closing = threading.Event()
        self._turns = 0

    def __repr__(self) -> str:
        return f"Lane({self._index})"

    @ray.method(concurrency_group="run")
    def run(self) -> None:
        """Mix until `close`; its reference tells the driver when this actor dies."""
        keeper = LeaseKeeper(self._registry, self._seat.role, self._seat.token)
        keeper.start(lambda: self._turns)
        reporter = threading.Thread(target=self._report_until_closed, daemon=True)
        reporter.start()
        try:
            while not self._closing.is_set():
                self._lane.pump()
                self._turns += 1
        finally:
            self._closing.set()
            keeper.stop()

    @ray.method(concurrency_group="push")
    def push(self, unit: int, chunk: int, num_chunks: int, token: int, table: pa.Table) -> Ack:
        return self._lane.push(unit, chunk, num_chunks, token, table)

    @ray.method(concurrency_group="fetch")
    def fetch(self, reader: str, token: int, cursor: int, wanted: int, timeout_s: float) -> FetchedBlock | LaneEnd:
        block = self._lane.fetch(reader, token, cursor, wanted, timeout_s)
        return block if isinstance(block, LaneEnd) else FetchedBlock(block.number, [block.handle])

    @ray.method(concurrency_group="fetch")
    def read_below(self, reader: str, token: int, cursor: int) -> None:
        self._lane.read_below(reader, token, cursor)

    @ray.method(concurrency_group="control")
    def skip_unit(self, unit: int) -> None:
        self._lane.skip_unit(unit)

    @ray.method(concurrency_group="control")
    def hold(self) -> Held:
        """Emit no more for now."""
        return Held(self._lane.hold(), self._lane.finished)

    @ray.method(concurrency_group="control")
    def stop_at(self, block: int) -> None:
        self._lane.stop_at(block)

    @ray.method(concurrency_group="control")
    def checkpoint_complete(self, block: int) -> None:
        self._lane.checkpoint_complete(block)

    @ray.method(concurrency_group="control")
    def close(self) -> None:
        self._closing.set()
        self._lane.close()

    def _publish(self, counters: LaneCounters) -> bool:
        rows_per_s = self._rate.per_s(counters.emitted)
        known = replace(counters, rows_per_s=rows_per_s)
        return if_reachable(lambda: self._registry.publish_lane(self._index, self._seat.token, known))

    def _save_part(self, block: int) -> None:
        part = self._seat.part_folder(block)
        if not part.exists():  # else a lane before this one came here, and was the same
            drop_leftovers(part, self._confirm_role)
            with room_for(f"checkpoint {block}", part.parent.parent), first_folder(part) as folder:
                write_part(folder, self._lane.save(folder))
        patiently(lambda: self._registry.save_part(block, self._seat.role, self._seat.token, self._expected_parts))
        log.info("lane=%d saved_at=%d", self._index, block)

    def _confirm_role(self) -> None:
        """Raises StaleToken if another process has it."""
        self._registry.heartbeat(self._seat.role, self._seat.token, self._turns)

    def _report_until_closed(self) -> None:
        while not self._closing.wait(REPORT_S):
            try:
                self._report()
            except StaleToken:
                log.info("lane=%d fenced: another process holds its role", self._index)
                self.close()
            except Exception as error:
                log.warning("lane=%d could not report: %s", self._index, error)

    def _report(self) -> None:
        counters = self._lane.publish_now()
        fields: dict[str, Any] = {
            "rows_per_s": self._reported.per_s(counters.emitted),
            "emitted": counters.emitted,
            "resident": counters.resident,
            "staged": counters.staged,
            "block_contexts": counters.block_contexts,
            "log_bytes": counters.log_bytes,
            "spool_bytes": counters.spool_bytes,
            "next_block": counters.next_block,
        }
        self._registry.add_metrics(self._seat.role, fields)
        self._gauges.set(fields)
