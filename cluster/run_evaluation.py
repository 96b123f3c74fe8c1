"""`headrace evaluate`: measures a run's SAEs on the text that it held out, and leaves `evaluation.json` with each."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cluster.evaluation import Evaluator
from cluster.preparation import why_nothing_is_held_out
from cluster.subjects import check_text_is_unseen, find_saved, load_subjects, rows_dtype
from producers.corpus import Corpus
from producers.held_out import HeldOutText
from producers.pretrained import load_config
from producers.spliced_model import SplicedModel
from shared.config import Job
from shared.errors import UserError
from shared.files import write_atomically
from trainers.model_card import write_card

EVALUATION = "evaluation.json"


@dataclass(frozen=True)
class RunEvaluation:
    """What was found of a run's SAEs."""

    found: list[dict[str, Any]]
    """Of each SAE, what its evaluation.json holds."""
    checkpoint: int | None
    """The checkpoint whose SAEs these are, of a run that has no finished ones; nothing is written then."""


def evaluate_run(
    run_folder: Path, job: Job, names: Sequence[str] = (), contexts: int | None = None, console: Console | None = None
) -> RunEvaluation:
    """Measures the SAEs called `names`, or all, on `contexts` held-out contexts, or as many as the job file says.

    Raises:
        UserError: there is no such SAE, or no text that it has not read.
    """
    saved = find_saved(run_folder, job, names)
    corpus = Corpus.open(job.corpus, job.seed, job.evaluation.holdout)
    text = _text(job, corpus, contexts or job.evaluation.contexts)
    check_text_is_unseen(saved, corpus)
    device = "cuda" if torch.cuda.is_available() and job.model.device != "cpu" else "cpu"
    evaluator = Evaluator(
        SplicedModel.load(job.model, device, rows_dtype(saved, job, device)), text, job.evaluation.contexts_per_forward
    )
    subjects = load_subjects(saved, job, device)
    with _progress(evaluator.num_steps(len(subjects)), console) as bar:
        evaluations = evaluator.evaluate(subjects, bar)
    apart = {"corpus_fingerprint": corpus.fingerprint, "held_out_contexts": corpus.held_out_contexts}
    found = [{**one.facts(), **apart} for one in evaluations]
    if saved.checkpoint is None:
        for one in found:
            _write(saved.folders[one["name"]] / EVALUATION, one)
            write_card(saved.folders[one["name"]])
    return RunEvaluation(found, saved.checkpoint)


def _text(job: Job, corpus: Corpus, contexts: int) -> HeldOutText:
    if corpus.num_held_out_units == 0:
        reason = why_nothing_is_held_out(job, corpus) or "evaluation.holdout is 0"
        raise UserError(f"the run {job.name} has no text to evaluate on: {reason}")
    text = HeldOutText.read(job, corpus, load_config(job.model).get_text_config().vocab_size, contexts)
    if text.num_rows == 0:
        raise UserError(
            f"the run {job.name} has no text to evaluate on: no token of what is held out is a training row"
        )
    return text


def _write(path: Path, facts: dict[str, Any]) -> None:
    """One key a line, however long its list."""
    lines = [f"  {json.dumps(key)}: {json.dumps(value, allow_nan=False)}" for key, value in facts.items()]
    write_atomically(path, ("{\n" + ",\n".join(lines) + "\n}\n").encode())


@contextmanager
def _progress(num_steps: int, console: Console | None) -> Iterator[Any]:
    """Gives what is to be called at each step."""
    if console is None:
        yield lambda: None
        return
    columns = (TextColumn("evaluating"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("evaluating", total=num_steps)
        yield lambda: progress.advance(task)
