"""All that can be checked about a job before anything starts: model, hookpoints, tokenizer, corpus, memory, folder."""

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.memory_plan import MemoryPlan, plan_memory
from cluster.wording import plural
from producers.corpus import Corpus
from producers.model_facts import describe_model
from producers.pretrained import check_weights
from producers.producer import check_context
from producers.tokenizing import DocumentTokenizer
from shared.config import LARGEST_HOLDOUT, Job
from shared.disk import free_bytes
from shared.errors import UserError
from shared.job_file import load_job
from shared.quantity import format_bytes
from shared.row_table import RowFormat


@dataclass(frozen=True)
class Prepared:
    """What the parts of a job are built from."""

    row_format: RowFormat
    num_units: int
    fingerprint: str
    """Of the corpus."""
    plan: MemoryPlan
    held_out_contexts: int
    """About how many contexts of the corpus no trainer reads."""
    nothing_held_out: str
    """Why there are none; empty where there are some, or none are wanted."""

    @property
    def corpus_facts(self) -> dict[str, str | int]:
        """What an SAE tells about its text, so that whoever evaluates it knows what it has not seen."""
        return {"corpus_fingerprint": self.fingerprint, "held_out_contexts": self.held_out_contexts}


def prepare(job: Job) -> Prepared:
    """Looks at everything that `job` names. Raises UserError, in one sentence, for the first thing that is wrong."""
    check_device(job)
    check_spool(job)
    facts = describe_model(job.model, job.producers.gpus)
    check_weights(job.model)
    check_context(job, facts.max_positions)
    DocumentTokenizer.load(job.model, job.corpus, facts.vocab_size)
    corpus = Corpus.open(job.corpus, job.seed, job.evaluation.holdout)
    nothing_held_out = why_nothing_is_held_out(job, corpus)
    if nothing_held_out and job.evaluation.every_blocks:
        raise UserError(f"evaluation.every_blocks: {nothing_held_out}")
    row_format = RowFormat(job.name, job.model.name, facts.revision, facts.widths, facts.dtype)
    plan = plan_memory(job, facts.widths, row_format.row_bytes, facts.weight_bytes, facts.vocab_size)
    return Prepared(row_format, corpus.num_units, corpus.fingerprint, plan, corpus.held_out_contexts, nothing_held_out)


def check_spool(job: Job) -> None:
    """Raises UserError if the blocks that lanes may put on disk would not fit there."""
    wanted, free = job.stream.lanes * job.stream.spool_bytes, free_bytes(Path(job.output))
    if wanted > free:
        raise UserError(
            f"stream.spool_bytes: {plural(job.stream.lanes, 'lane')} may put {format_bytes(wanted)} on the disk of "
            f"{job.output}, which has {format_bytes(free)} free"
        )


def why_nothing_is_held_out(job: Job, corpus: Corpus) -> str:
    """A sentence for a corpus that is too small for the share that was asked for; else empty."""
    share = job.evaluation.holdout
    if corpus.num_held_out_units or share == 0:
        return ""
    least = math.ceil(corpus.least_holdout * 1000) / 1000
    way = f"evaluation.holdout from {least:g} on" if least <= LARGEST_HOLDOUT else "only a larger corpus"
    return f"no text is held out, since the corpus has no piece as small as {share:g} of it; {way} would hold some out"


def check_device(job: Job) -> None:
    """Raises UserError if the model is to run on a GPU that its producers are not given."""
    if job.model.device == "cuda" and not job.producers.gpus:
        raise UserError("model.device is cuda and producers.gpus is 0: give each producer a GPU, or a part of one")


def check_folder(job: Job, resume: bool) -> None:
    """Raises UserError if the run folder cannot be made, or holds what `job` must not touch.

    A run that did not get as far as its first checkpoint is nothing to resume, and may be begun again.
    """
    folder = Path(job.output)
    _check_place(folder)
    if not resume and Path.cwd().is_relative_to(folder.resolve()):
        raise UserError(f"output {folder} holds the current folder; choose one of its own, such as runs/{job.name}")
    if not (folder / "job.yaml").exists():
        if resume:
            raise UserError(f"{folder} holds no job to resume: it has no job.yaml")
        if folder.is_dir() and any(folder.iterdir()):
            raise UserError(f"output {job.output} holds files that are not a run's; choose another folder")
        return
    before = load_job(folder / "job.yaml")
    if before.name != job.name:
        raise UserError(f"output {job.output} holds another job ({before.name}); choose another output")
    if resume or not (folder / "checkpoints").exists():
        return
    if _settings(before) != _settings(job):
        raise UserError(f"output {job.output} holds a run of {job.name} with other settings; choose another output")
    raise UserError(f"job {job.name} has begun before in {folder}; go on with: headrace resume {folder}")


def _check_place(folder: Path) -> None:
    """Raises UserError if `folder` is a file, or cannot be made where it is to be."""
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not there.is_dir():
        raise UserError(f"output {folder} cannot be a folder: {there} is a file")
    if not os.access(there, os.W_OK | os.X_OK):
        raise UserError(f"output {folder} cannot be written: {there} does not belong to you")


def _settings(job: Job) -> dict[str, Any]:
    """All but where the run lies, which may be written in several ways."""
    return job.model_dump(exclude={"output", "registry"})
