"""A trainer as a Ray actor: reads blocks at its own pace, saves at barriers, ends with an SAE in its folder."""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ray
import torch

from cluster.block_reader import BlockReader, StreamBlock
from cluster.gauges import Gauges
from cluster.leftovers import drop_leftovers
from cluster.part_files import write_part
from cluster.patience import if_reachable, patiently
from cluster.rate import Rate
from cluster.seat import Seat, prepare_process
from shared.disk import room_for
from shared.errors import DiskFull, JobFailed
from shared.files import first_folder
from shared.lease_keeper import LeaseKeeper
from shared.registry_facts import TrainerCounters
from shared.row_table import RowFormat, Rows
from shared.stream_plan import StreamPlan
from shared.trainer_config import TrainerConfig
from trainers import Report, SaeFacts, Trainer, activation_scale
from trainers.batches import to_float32
from trainers.model_card import write_card

log = logging.getLogger(__name__)
REPORT_S = 1.0
WAIT_S = 0.2
DISK_RETRY_S = 5.0
"""Between two tries to write to a disk that was full."""


@dataclass(frozen=True)
class TrainerEnd:
    """How `run` ended."""

    name: str
    stopped: bool
    """Saved for a stop; otherwise the stream was read to its end."""
    counters: TrainerCounters
    """As they were then."""


class TrainerActor:
    """Runs one `Trainer` on the stream."""

    def __init__(
        self,
        seat: Seat,
        config: TrainerConfig,
        row_format: RowFormat,
        restore_from: Path | None,
        corpus_facts: Mapping[str, str | int],
    ) -> None:
        """`corpus_facts` are told by the SAE about the text that it was trained on."""
        self._seat, self._job, self._config, self._format = seat, seat.job, config, row_format
        self._corpus_facts = corpus_facts
        prepare_process(seat)
        torch.set_num_threads(config.threads)
        self._plan = StreamPlan.of(seat.job)
        self._registry = seat.open_registry()
        self._hookpoints = config.columns(seat.job.model.hookpoints)
        self._trainer = self._make(restore_from)
        self._next_barrier = self._plan.next_barrier(self._trainer.cursor + (1 if restore_from else 0))
        self._expected_parts = seat.job.stream.lanes + len(seat.job.trainers)
        self._stop_at: int | None = None
        self._held = False
        self._trouble = ""
        self._turns = 0
        self._begun_below = self._trainer.cursor
        self._turn = threading.Condition()
        self._gauges, self._rate = Gauges(seat.job.name, seat.role), Rate()
        self._last_report_s = 0.0

    def __repr__(self) -> str:
        return f"Trainer({self._config.name})"

    @ray.method(concurrency_group="control")
    def hold(self) -> int:
        """Begin no other block until `stop_at`; the block after the last one that was begun."""
        with self._turn:
            self._held = True
            return self._begun_below

    @ray.method(concurrency_group="control")
    def stop_at(self, block: int) -> None:
        """Save and end when all blocks below `block` are read."""
        with self._turn:
            self._held, self._stop_at = False, block
            self._turn.notify_all()

    @ray.method(concurrency_group="run")
    def run(self) -> TrainerEnd:
        """Read to the end of the stream, or to where `stop_at` says; its reference tells the driver when this dies."""
        keeper = LeaseKeeper(self._registry, self._seat.role, self._seat.token)
        keeper.start(lambda: self._turns)
        reader = BlockReader(
            self._config.name,
            self._seat.token,
            self._plan.lanes,
            self._plan.num_blocks,
            self._trainer.cursor,
            yields=self._config.lag_policy == "detach",
        )
        try:
            stopped = self._read_stream(reader)
            reader.close()
            return self._stopped() if stopped else self._finish()  # a large SAE takes long to save
        finally:
            reader.close()
            keeper.stop()

    def _make(self, restore_from: Path | None) -> Trainer:
        device = "cuda" if self._config.gpus and torch.cuda.is_available() else "cpu"
        if restore_from is not None:
            log.info("trainer=%s restored_from=%s", self._config.name, restore_from.parent.name)
            return Trainer.load(restore_from, self._config, device)
        widths = {hookpoint: self._format.widths[hookpoint] for hookpoint in self._hookpoints}
        return Trainer(self._config, widths, self._job.seed, self._job.tokens, device)

    def _read_stream(self, reader: BlockReader) -> bool:
        """True if it ended for a stop."""
        lanes_ended, block = 0, None
        self._publish("running")
        if self._seat.part_folder(self._trainer.cursor).exists():  # it may have died before it could say so
            self._save(self._trainer.cursor)
        while self._trainer.cursor < self._plan.num_blocks and lanes_ended < self._plan.lanes:
            self._turns += 1
            if self._save_if_due():
                return True
            block = block or reader.next(timeout_s=WAIT_S)
            if block is None or not self._begin(block.number):
                continue
            lanes_ended = 0 if block.table is not None or block.is_gap else lanes_ended + 1
            self._read(block)
            reader.read_below(self._trainer.cursor)
            block = None
        return False

    def _begin(self, block: int) -> bool:
        """Whether `block` may be read now: not while all are held, nor beyond where all stop."""
        with self._turn:
            if self._held:
                self._turn.wait(WAIT_S)
            if self._held or (self._stop_at is not None and block >= self._stop_at):
                return False
            self._begun_below = block + 1
            return True

    def _save_if_due(self) -> bool:
        """Save at a barrier; True if it was the one to stop at."""
        cursor, stop = self._trainer.cursor, self._stop_at
        if stop is not None and cursor >= stop:
            while not self._save(cursor):  # else all that was read since the checkpoint before would be read again
                self._rest()
            return True
        if cursor == self._next_barrier:
            self._save(cursor)
            self._next_barrier += self._plan.every_blocks
        return False

    def _save(self, block: int) -> bool:
        """The part of checkpoint `block`; False if the disk is full: the job goes on with the checkpoint before."""
        part = self._seat.part_folder(block)
        try:
            if not part.exists():  # else one before this trainer came here, and was the same
                self._write_part(part, block)
        except DiskFull as error:
            self._note(error)
            return False
        self._trouble = ""
        patiently(lambda: self._registry.save_part(block, self._seat.role, self._seat.token, self._expected_parts))
        log.info("trainer=%s saved_at=%d", self._config.name, block)
        return True

    def _write_part(self, part: Path, block: int) -> None:
        counters = replace(self._counters("running", self._trainer.report()), trouble="")
        drop_leftovers(part, self._confirm_role)
        with room_for(f"checkpoint {block}", part.parent.parent), first_folder(part) as folder:
            self._trainer.save(folder)
            write_part(folder, counters)

    def _confirm_role(self) -> None:
        """Raises StaleToken if another process has it."""
        self._registry.heartbeat(self._seat.role, self._seat.token, self._turns)

    def _note(self, error: DiskFull) -> None:
        """Says what cannot be done for now."""
        self._trouble = str(error)
        self._publish("running")
        log.warning("trainer=%s %s", self._config.name, error)

    def _rest(self) -> None:
        """Before the next try to write to a disk that is full."""
        self._turns += 1
        time.sleep(DISK_RETRY_S)

    def _read(self, block: StreamBlock) -> None:
        if block.is_gap:
            log.warning("trainer=%s block=%d is gone from the log and passed over", self._config.name, block.number)
            self._trainer.pass_over(block.number, self._plan.block_rows)
        elif block.table is None:
            self._trainer.pass_over(block.number)
        else:
            rows = self._format.rows(block.table)
            self._fix_scales(rows)
            self._trainer.read(block.number, rows)
        self._publish("running")

    def _fix_scales(self, rows: Rows) -> None:
        """Agree with the job's other trainers on the scales, from the first block that any of them reads."""
        if not self._trainer.scales:
            self._trainer.fix_scales({name: self._agreed_scale(name, rows) for name in self._hookpoints})

    def _agreed_scale(self, hookpoint: str, rows: Rows) -> float:
        normalize = self._config.normalize
        measured = activation_scale(to_float32(rows.activations[hookpoint]), normalize)
        return patiently(lambda: self._registry.fix_scale(f"{hookpoint} {normalize}", measured))

    def _publish(self, state: str, say: Callable[[Callable[[], None]], object] = if_reachable) -> TrainerCounters:
        """Says in the registry where this trainer stands, and gives what it has said."""
        report = self._trainer.report()
        counters = self._counters(state, report)
        say(lambda: self._registry.publish_trainer(self._config.name, self._seat.token, counters))
        if time.monotonic() - self._last_report_s > REPORT_S or state != "running":
            self._last_report_s = time.monotonic()
            if_reachable(lambda: self._report(report, counters.rows_per_s))
        return counters

    def _report(self, report: Report, rows_per_s: float) -> None:
        fields: dict[str, Any] = {
            "tokens": report.tokens,
            "steps": report.steps,
            "fvu": report.fvu,
            "l0": report.l0,
            "dead_fraction": report.dead_fraction,
            "lr": report.lr,
            "rows_per_s": rows_per_s,
            "gap_tokens": self._trainer.gap_rows,
            **{name if name == "loss" else f"loss_{name}": value for name, value in report.losses.items()},
        }
        known = {name: value for name, value in fields.items() if value is not None}
        self._registry.add_metrics(self._seat.role, known)
        self._gauges.set(known)

    def _counters(self, state: str, report: Report) -> TrainerCounters:
        return TrainerCounters(
            cursor=self._trainer.cursor,
            rows=self._trainer.rows_read,
            gap_rows=self._trainer.gap_rows,
            state=state,
            address_digest=self._trainer.digest.addresses,
            bits_digest=self._trainer.digest.bits,
            steps=report.steps,
            fvu=report.fvu,
            l0=report.l0,
            dead_fraction=report.dead_fraction,
            rows_per_s=self._rate.per_s(self._trainer.rows_read),
            trouble=self._trouble,
        )

    def _stopped(self) -> TrainerEnd:
        return TrainerEnd(self._config.name, True, self._publish("stopped"))

    def _finish(self) -> TrainerEnd:
        if self._trainer.rows_read == 0:
            raise JobFailed("corpus.source: the stream has ended and not one row came out of the corpus")
        self._trainer.finish()
        folder = self._seat.run_folder / "saes" / self._config.name
        drop_leftovers(folder, self._confirm_role)
        while not self._save_sae(folder):
            self._rest()
        counters = self._publish("finished", patiently)
        log.info("trainer=%s finished tokens=%d", self._config.name, self._trainer.rows_read)
        return TrainerEnd(self._config.name, False, counters)

    def _save_sae(self, folder: Path) -> bool:
        """The SAE in its folder; False if the disk is full.

        Raises:
            StaleToken: another process has the trainer's role, and writes it.
            JobFailed: it is full and the job is to stop: the SAE comes of the checkpoint before once there is room.
        """
        try:
            with room_for(f"the SAE of {self._config.name}", folder.parent):
                patiently(self._confirm_role)
                self._trainer.save_sae(folder, self._facts())
                write_card(folder)
        except DiskFull as error:
            if self._stop_at is not None:
                raise JobFailed(str(error)) from error
            self._note(error)
            return False
        self._trouble = ""
        return True

    def _facts(self) -> SaeFacts:
        job, trainer = self._job, self._trainer
        source = job.corpus.source
        return SaeFacts(
            model_name=job.model.name,
            inputs=self._config.inputs(job.model.hookpoints),
            targets=self._config.targets(job.model.hookpoints),
            context_tokens=job.corpus.context_tokens,
            dataset=source if isinstance(source, str) else ", ".join(source),
            prepend_bos=job.corpus.prepend_bos,
            exclude_special_tokens=job.corpus.exclude_special_tokens,
            headrace={
                "job": job.name,
                "trainer": self._config.name,
                "seed": trainer.seed,
                "tokens": trainer.rows_read,
                "gap_tokens": trainer.gap_rows,
                "gaps": trainer.gaps,
                "steps": trainer.steps,
                "scales": trainer.scales,
                "normalize": trainer.config.normalize,
                "address_digest": trainer.digest.addresses,
                "bits_digest": trainer.digest.bits,
                "dtype": self._format.dtype,
                "revision": self._format.revision,
                **self._corpus_facts,
            },
        )
