"""`headrace features collect`: one pass of a run's model over text that its SAEs have not read, for all of them."""

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from cluster.collection_pass import SAVE_S, CollectionPass
from cluster.evaluation import Subject
from cluster.progress_bar import progress_bar
from cluster.store_builder import StoreBuilder
from cluster.subjects import Saved, find_saved, load_subjects, rows_dtype
from cluster.unread import Text, find_text
from features.settings import CollectionSettings
from features.store import FEATURES
from producers.producer import Producer
from producers.spliced_model import SplicedModel
from shared.config import Job
from shared.digest import file_digest
from shared.errors import UserError

STATE = ".collecting"
"""In the folder of features, while a collection is under way or was interrupted."""


@dataclass(frozen=True)
class Collected:
    """What came of it."""

    folders: dict[str, Path]
    """name -> the SAE's store."""
    rows: int
    contexts: int
    checkpoint: int | None
    """The checkpoint whose SAEs these are, of a run that has no finished ones."""
    source: str
    went_on_from: int
    """Rows that an interrupted collection had seen already."""


def collect_run(
    run_folder: Path,
    job: Job,
    names: Sequence[str],
    tokens: int,
    settings: CollectionSettings,
    source: str | None = None,
    console: Console | None = None,
    save_s: float = SAVE_S,
) -> Collected:
    """Collects the features of the SAEs called `names`, or all, from about `tokens` rows of text, and writes them.

    An interrupted collection of the same SAEs, text and settings is gone on with.

    Args:
        source: text from elsewhere, as `corpus.source` has it; by default what no SAE of the run has read.
    Raises:
        UserError: there is no such SAE, or no such text.
    """
    saved = find_saved(run_folder, job, names)
    text = find_text(run_folder, job, saved, source)
    device = "cuda" if torch.cuda.is_available() and job.model.device != "cpu" else "cpu"
    placed = job.model.model_copy(update={"device": device, "dtype": rows_dtype(saved, job, device)})
    job = job.model_copy(update={"model": placed})
    model = SplicedModel.load(job.model, device, job.model.dtype)
    producer, subjects = Producer(job, text.units, model), load_subjects(saved, job, device)
    state = run_folder / FEATURES / STATE
    identity = _identity(saved, subjects, text, settings)
    reading = CollectionPass(producer, subjects, job.corpus.context_tokens, settings, state, identity)
    begun = reading.collection.rows
    with progress_bar("collecting", tokens, console or Console(quiet=True)) as on_rows:
        reading.run(text.units.num_units, tokens, on_rows, save_s)
    if reading.collection.rows == 0:
        raise UserError(f"no token of {text.source} is a row")
    revision = producer.row_format.revision
    builder = StoreBuilder(job, revision, model, subjects, reading.collection, text, saved.checkpoint)
    folders = {subject.name: run_folder / FEATURES / subject.name for subject in subjects}
    for subject in subjects:
        builder.write(subject, folders[subject.name])
    shutil.rmtree(state, ignore_errors=True)
    collection = reading.collection
    return Collected(folders, collection.rows, collection.contexts, saved.checkpoint, text.source, begun)


def _identity(saved: Saved, subjects: Sequence[Subject], text: Text, settings: CollectionSettings) -> dict[str, Any]:
    """What a collection is of: where any of it is another, what was collected before does not count."""
    weights = {name: _digest(folder) for name, folder in saved.folders.items()}
    return {
        "weights": weights,
        "checkpoint": saved.checkpoint,
        "corpus": text.fingerprint,
        "source": text.source,
        "settings": asdict(settings),
        "shapes": [[one.name, one.sae.num_latents] for one in subjects],
    }


def _digest(folder: Path) -> str:
    """Of an SAE's weights, finished or in a checkpoint."""
    files = sorted(path for path in folder.glob("*.safetensors") if path.name != "sparsity.safetensors")
    return " ".join(file_digest(path) for path in files)
