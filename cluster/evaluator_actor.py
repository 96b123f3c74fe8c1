"""The evaluator as a Ray actor: measures the newest checkpoint's SAEs on held-out text while the stream goes on.

Nothing waits for it. It reads what trainers have saved, at a low priority; when it is slow it passes over checkpoints,
and when it dies the job goes on as if it had never been there.
"""

import logging
import os
import time
from collections.abc import Sequence

import torch

from cluster import checkpoints
from cluster.evaluation import Evaluation, Evaluator
from cluster.gauges import Gauges
from cluster.patience import patiently
from cluster.seat import Seat, prepare_process
from cluster.subjects import in_checkpoint, load_subjects
from cluster.wording import decimals
from producers.corpus import Corpus
from producers.held_out import HeldOutText
from producers.pretrained import load_config
from producers.spliced_model import SplicedModel
from shared.config import Job
from shared.errors import CheckpointError, Unreadable, UserError
from shared.lease_keeper import LeaseKeeper
from shared.registry_facts import EvaluationRecord
from shared.stream_plan import StreamPlan

log = logging.getLogger(__name__)
EVALUATOR = "evaluator"
"""Its role; there is one."""
POLL_S = 1.0
NICENESS = 10
"""Where cores are scarce, whoever the stream waits for comes first."""


class EvaluatorActor:
    """Measures whenever a checkpoint is far enough beyond the last that it measured."""

    def __init__(self, seat: Seat, fingerprint: str, dtype: str) -> None:
        self._seat, self._job, self._fingerprint, self._dtype = seat, seat.job, fingerprint, dtype
        prepare_process(seat)
        os.nice(NICENESS)
        torch.set_num_threads(seat.job.evaluation.threads)
        self._registry = seat.open_registry()
        self._plan = StreamPlan.of(seat.job)
        self._gauges: dict[str, Gauges] = {}
        self._turns = 0
        """Steps and waits: what its heartbeat tells."""

    def __repr__(self) -> str:
        return "Evaluator()"

    def run(self) -> None:
        """Measure until the driver ends this actor; its reference tells the driver when it dies."""
        LeaseKeeper(self._registry, self._seat.role, self._seat.token).start(lambda: self._turns)
        evaluator = self._load()
        last = max((one.block for one in patiently(self._registry.snapshot).evaluations.values()), default=0)
        unreadable: int | None = None
        while True:
            block = due(checkpoints.newest_block(self._seat.run_folder), last, self._job.evaluation.every_blocks)
            if block is None or block == unreadable:
                self._turns += 1
                time.sleep(POLL_S)
            elif self._measure(evaluator, block):
                last = block
            else:
                unreadable = block

    def _load(self) -> Evaluator:
        job = self._job
        corpus = Corpus.open(job.corpus, job.seed, job.evaluation.holdout)
        if corpus.fingerprint != self._fingerprint:
            raise UserError("corpus.source: the files are not those that this job began with")
        vocab_size = load_config(job.model).get_text_config().vocab_size
        text = HeldOutText.read(job, corpus, vocab_size, job.evaluation.contexts)
        if text.num_rows == 0:
            raise UserError("no token of what is held out is a training row")
        model = SplicedModel.load(job.model, _device(job), self._dtype)
        log.info("evaluator=ready contexts=%d tokens=%d", text.num_contexts, text.num_rows)
        return Evaluator(model, text, job.evaluation.contexts_per_forward)

    def _measure(self, evaluator: Evaluator, block: int) -> bool:
        """False if the checkpoint is damaged, or made room for a newer one before it was read."""
        begun, device = time.monotonic(), _device(self._job)
        try:
            subjects = load_subjects(in_checkpoint(self._seat.run_folder, self._job, block), self._job, device)
        except (CheckpointError, Unreadable, OSError) as error:
            log.warning("evaluator=passed_over block=%d reason=%s", block, error)
            return False
        found = evaluator.evaluate(subjects, self._on_step)
        seconds = time.monotonic() - begun
        for one in found:
            self._publish(one, block, seconds)
        patiently(lambda: self._registry.add_event("evaluated", told(found, block)))
        log.info("evaluator=measured block=%d seconds=%.1f", block, seconds)
        return True

    def _publish(self, one: Evaluation, block: int, seconds: float) -> None:
        record = evaluation_record(one, block, self._plan.rows_below(block))
        patiently(lambda: self._registry.publish_evaluation(self._seat.token, one.name, record))
        fields = {name: value for name, value in vars(record).items() if value is not None}
        patiently(lambda: self._registry.add_metrics(f"evaluation-{one.name}", {**fields, "seconds": seconds}))
        gauges = self._gauges.setdefault(one.name, Gauges(self._job.name, f"evaluation-{one.name}"))
        gauges.set(fields)

    def _on_step(self) -> None:
        self._turns += 1


def due(newest: int | None, last: int, every_blocks: int | None) -> int | None:
    """The block of the checkpoint to measure now: the newest, once it is `every_blocks` beyond the last one."""
    assert every_blocks is not None
    return newest if newest is not None and newest >= last + every_blocks else None


def evaluation_record(one: Evaluation, block: int, tokens: int) -> EvaluationRecord:
    """The numbers that are shown while a job runs."""
    splice = one.splice
    return EvaluationRecord(
        block=block,
        tokens=tokens,
        contexts=one.contexts,
        fvu=one.quality.fvu,
        l0=one.quality.l0,
        dead_fraction=one.quality.dead_fraction,
        ce_increase=splice.ce_increase if splice else None,
        ce_recovered=splice.ce_recovered if splice else None,
        kl_spliced=splice.kl_spliced if splice else None,
    )


def told(found: Sequence[Evaluation], block: int) -> str:
    """`checkpoint 80 on held-out text: FVU 0.1532 to 0.2171, loss up by 0.3121 to 0.6600 nats`."""
    fvus = [one.quality.fvu for one in found if one.quality.fvu is not None]
    increases = [one.splice.ce_increase for one in found if one.splice is not None]
    parts = [f"FVU {span(fvus)}"] if fvus else []
    parts += [f"loss up by {span(increases)} nats"] if increases else []
    return f"checkpoint {block} on held-out text: {', '.join(parts) or 'no variance, and no loss'}"


def span(values: Sequence[float]) -> str:
    """From the least to the greatest."""
    low, high = decimals(min(values), 4), decimals(max(values), 4)
    return low if low == high else f"{low} to {high}"


def _device(job: Job) -> str:
    return "cuda" if job.evaluation.gpus and torch.cuda.is_available() else "cpu"
