"""`headrace features collect`: one pass of a run's model over text that its SAEs have not read, for all of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from cluster.encoding import encode_rows
from cluster.evaluation import Subject
from cluster.subjects import Saved, check_text_is_unseen, find_saved, load_subjects, rows_dtype
from cluster.unread import unread_units
from features.catalog import Lens, catalog_table
from features.codes import Codes
from features.collection import Collection
from features.contexts_table import contexts_tables, silent_table
from features.histogram import EDGES
from features.logit_lens import final_norm, logit_lens, unembedding_of
from features.nearest import nearest
from features.settings import CollectionSettings
from features.store import FEATURES
from features.store_meta import StoreMeta
from features.store_writer import write_store
from features.text_batch import TextBatch
from producers.corpus import Corpus
from producers.fresh_text import FreshText
from producers.producer import Chunk, Producer
from producers.spliced_model import SplicedModel
from shared.config import Job
from shared.errors import UserError
from shared.row_table import Rows
from trainers.batches import to_float32


class Text(NamedTuple):
    """What is collected from."""

    units: FreshText
    source: str
    """In words."""


@dataclass(frozen=True)
class Collected:
    """What came of it."""

    folders: dict[str, Path]
    rows: int
    contexts: int
    checkpoint: int | None
    source: str


def collect_run(
    run_folder: Path,
    job: Job,
    names: Sequence[str],
    tokens: int,
    settings: CollectionSettings,
    source: str | None = None,
    console: Console | None = None,
) -> Collected:
    """Collects the features of the SAEs called `names`, or all, from about `tokens` rows of text, and writes them.

    Args:
        source: text from elsewhere, as `corpus.source` has it; by default what no SAE of the run has read.
    Raises:
        UserError: there is no such SAE, or no such text.
    """
    saved = find_saved(run_folder, job, names)
    text = find_text(run_folder, job, saved, source)
    device = "cuda" if torch.cuda.is_available() and job.model.device != "cpu" else "cpu"
    job = _placed(job, device, rows_dtype(saved, job, device))
    model = SplicedModel.load(job.model, device, job.model.dtype)
    producer = Producer(job, text.units, model)
    subjects = load_subjects(saved, job, device)
    sizes = {subject.name: subject.sae.num_latents for subject in subjects}
    collection = Collection(sizes, job.corpus.context_tokens, settings)
    with Progress(TextColumn("collecting"), BarColumn(), TimeRemainingColumn(), console=console) as bar:
        task = bar.add_task("", total=tokens)
        for batch, codes in encoded(producer, subjects, range(text.units.num_units)):
            collection.add(batch, codes)
            bar.update(task, completed=collection.rows)
            if collection.rows >= tokens:
                break
    collection.settle()
    if collection.rows == 0:
        raise UserError(f"no token of {text.source} is a row")
    folders = {}
    for subject in subjects:
        folders[subject.name] = run_folder / FEATURES / subject.name
        _write(folders[subject.name], subject, subjects, collection, job, model, text.source, saved)
    return Collected(folders, collection.rows, collection.contexts, saved.checkpoint, text.source)


def find_text(run_folder: Path, job: Job, saved: Saved, source: str | None) -> Text:
    """The text to collect from. Raises UserError if there is none that the SAEs have not read."""
    if source is not None:
        corpus = Corpus.open(job.corpus.model_copy(update={"source": source, "epochs": 1}), job.seed)
        return Text(FreshText(corpus, range(corpus.num_units)), source)
    corpus = Corpus.open(job.corpus, job.seed, job.evaluation.holdout)
    check_text_is_unseen(saved, corpus)
    units = unread_units(run_folder, corpus, saved.checkpoint)
    text = FreshText(corpus, units)
    if text.num_units == 0:
        raise UserError(f"the run {job.name} has read its whole corpus; name other text with --source")
    shown = job.corpus.source if isinstance(job.corpus.source, str) else ", ".join(job.corpus.source)
    return Text(text, f"{shown}: {text.num_held_out} units held out and {len(units)} that no SAE has read")


def encoded(
    producer: Producer, subjects: Sequence[Subject], units: range
) -> Iterator[tuple[TextBatch, dict[str, Codes]]]:
    """Each forward's text, and each SAE's codes of its rows."""
    for chunk in producer.chunks(units):
        rows = tensors(producer.row_format.rows(chunk.table), subjects)
        yield text_batch(chunk), {one.name: encode_rows(one, rows) for one in subjects}


def tensors(rows: Rows, subjects: Sequence[Subject]) -> dict[str, Tensor]:
    """hookpoint -> [rows, width], float32, on the device of the SAEs."""
    device = next(subjects[0].sae.parameters()).device
    return {
        name: torch.from_numpy(np.array(to_float32(values))).to(device) for name, values in rows.activations.items()
    }


def text_batch(chunk: Chunk) -> TextBatch:
    """What the collectors get of a chunk's text."""
    seen = chunk.seen
    return TextBatch(chunk.unit, seen.first_context, seen.contexts.token_ids, seen.contexts.document, seen.kept)


def _placed(job: Job, device: str, dtype: str) -> Job:
    """The job with its model on `device`."""
    model = job.model.model_copy(update={"device": device, "dtype": dtype})
    return job.model_copy(update={"model": model})


def _write(
    folder: Path,
    subject: Subject,
    subjects: Sequence[Subject],
    collection: Collection,
    job: Job,
    model: SplicedModel,
    source: str,
    saved: Saved,
) -> None:
    collector, settings, sae = collection.collectors[subject.name], collection.settings, subject.sae
    directions = sae.W_dec.detach()
    others = [one for one in subjects if one is not subject and one.targets == subject.targets]
    share = np.full(sae.num_latents, np.nan)
    meta = StoreMeta(
        job=job.name,
        trainer=subject.name,
        architecture=_architecture(subject, job),
        num_latents=sae.num_latents,
        d_in=sae.d_in,
        model=job.model.name,
        revision="",
        tokenizer=job.model.tokenizer or job.model.name,
        inputs=subject.inputs,
        targets=subject.targets,
        source=source,
        tokens=collection.rows,
        contexts=collection.contexts,
        context_tokens=job.corpus.context_tokens,
        window_tokens=settings.window_tokens,
        seed=settings.seed,
        checkpoint=saved.checkpoint,
        top_contexts=settings.top_contexts,
        samples_per_bin=settings.samples_per_bin,
        histogram_edges=EDGES,
    )
    write_store(
        folder,
        meta,
        catalog_table(collector.moments, share, _lens(directions, model), nearest(directions)),
        contexts_tables(collector, collection.texts, settings.seed),
        silent_table(collection.pool, collector, collection.texts, settings.seed),
        {one.name: nearest(directions, one.sae.W_dec.detach()) for one in others},
    )


def _architecture(subject: Subject, job: Job) -> str:
    return next((one.architecture for one in job.trainers if one.name == subject.name), type(subject.sae).__name__)


def _lens(directions: Tensor, model: SplicedModel) -> Lens:
    unembedding = unembedding_of(model.model)
    if model.no_logits or unembedding is None or unembedding.shape[1] != directions.shape[1]:
        return Lens.none(len(directions))
    return logit_lens(directions, unembedding, final_norm(model.model))
