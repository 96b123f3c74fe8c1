"""`headrace features collect`: one pass of a run's model over text that its SAEs have not read, for all of them.

The pass is made in this process, or in parts by collectors side by side. The stores are written here either way.
"""

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from cluster.collection_pass import SAVE_S
from cluster.collection_plan import CollectionPlan, shares_of
from cluster.evaluation import Subject
from cluster.gathering import gather_here, gather_with_crew
from cluster.store_builder import StoreBuilder
from cluster.subjects import Saved, find_saved, load_subjects, rows_dtype
from cluster.unread import Text, find_text
from features.settings import CollectionSettings
from features.store import FEATURES
from producers.pretrained import resolve_device
from shared.config import Job
from shared.digest import file_digest
from shared.errors import UserError
from shared.registry_secret import without_password

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
    collectors: int = 1,
) -> Collected:
    """Collects the features of the SAEs called `names`, or all, from about `tokens` rows of text, and writes them.

    An interrupted collection of the same SAEs, text and settings, by as many collectors, is gone on with.

    Args:
        source: text from elsewhere, as `corpus.source` has it; by default what no SAE of the run has read.
        collectors: how many Ray actors share the text; one is none, and this process does it.
    Raises:
        UserError: there is no such SAE, or no such text, or not enough of it for so many collectors.
        JobFailed: a collector broke; what was saved is gone on with next time.
    """
    saved = find_saved(run_folder, job, names)
    text = find_text(run_folder, job, saved, source)
    shares = shares_of(collectors, text.units.num_units)
    alone, here = collectors == 1, "cuda" if torch.cuda.is_available() and job.model.device != "cpu" else "cpu"
    job = _placed(job, saved, here if alone else resolve_device(job.model, job.producers.gpus))
    subjects = load_subjects(saved, job, here if alone else "cpu")
    state, identity = run_folder.resolve() / FEATURES / STATE, _identity(saved, subjects, text, settings)
    plan = CollectionPlan(job, saved, text.excerpt, tokens, settings, identity, state, save_s)
    console = console or Console(quiet=True)
    if alone:
        found = gather_here(plan, shares[0], text.units, subjects, console)
    else:
        found = gather_with_crew(plan, shares, subjects, here, console)
    collection = found.collection
    if collection.rows == 0:
        raise UserError(f"no token of {text.source} is a row")
    builder = StoreBuilder(job, found.revision, found.model, found.subjects, collection, text, saved.checkpoint)
    folders = {subject.name: run_folder / FEATURES / subject.name for subject in found.subjects}
    for subject in found.subjects:
        builder.write(subject, folders[subject.name])
    shutil.rmtree(state, ignore_errors=True)
    return Collected(folders, collection.rows, collection.contexts, saved.checkpoint, text.source, found.went_on_from)


def _placed(job: Job, saved: Saved, device: str) -> Job:
    """The job, with the device and the dtype that its model runs with; as all may see it."""
    model = job.model.model_copy(update={"device": device, "dtype": rows_dtype(saved, job, device)})
    return job.model_copy(update={"model": model, "registry": without_password(job.registry)})


def _identity(saved: Saved, subjects: Sequence[Subject], text: Text, settings: CollectionSettings) -> dict[str, Any]:
    """What a collection is of: where any of it is another, what was collected before does not count."""
    weights = {name: _digest(folder) for name, folder in saved.folders.items()}
    return {
        "weights": weights,
        "checkpoint": saved.checkpoint,
        "corpus": text.excerpt.fingerprint,
        "source": text.source,
        "settings": asdict(settings),
        "shapes": [[one.name, one.sae.num_latents] for one in subjects],
    }


def _digest(folder: Path) -> str:
    """Of an SAE's weights, finished or in a checkpoint."""
    files = sorted(path for path in folder.glob("*.safetensors") if path.name != "sparsity.safetensors")
    return " ".join(file_digest(path) for path in files)
