"""The SAEs of a run, ready to be measured: those in `saes/`, or as the newest checkpoint holds them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cluster import checkpoints
from cluster.evaluation import Subject
from producers.corpus import Corpus
from producers.pretrained import resolve_dtype
from shared.config import Job
from shared.errors import UserError
from trainers import Trainer, load_sae, read_facts


@dataclass(frozen=True)
class Saved:
    """Where the SAEs of a run are."""

    folders: dict[str, Path]
    """name -> its folder in `saes/`, or its part of a checkpoint."""
    checkpoint: int | None
    """The block of the checkpoint; None where all are finished."""


def find_saved(run_folder: Path, job: Job, names: Sequence[str]) -> Saved:
    """The SAEs called `names`, or all; of a run that has no finished one, those of its newest checkpoint.

    Raises:
        UserError: there are none, or none of such a name.
    """
    folders = {path.parent.name: path.parent for path in sorted((run_folder / "saes").glob("*/cfg.json"))}
    if folders:
        names_in_order = dict.fromkeys([one.name for one in job.trainers if one.name in folders] + list(folders))
        folders = {name: folders[name] for name in names_in_order}
        return Saved(_chosen(folders, names, run_folder), None)
    block = checkpoints.newest_block(run_folder)
    if block is None:
        raise UserError(f"{run_folder} has no SAE yet, and no complete checkpoint")
    saved = in_checkpoint(run_folder, job, block)
    return Saved(_chosen(saved.folders, names, run_folder), block)


def in_checkpoint(run_folder: Path, job: Job, block: int) -> Saved:
    """The SAEs of the job file's trainers as of one checkpoint; one that has left the job has no part in it."""
    folder = run_folder / "checkpoints" / str(block)
    parts = {one.name: checkpoints.part_of(folder, f"trainer-{one.name}") for one in job.trainers}
    return Saved({name: part for name, part in parts.items() if part.is_dir()}, block)


def load_subjects(saved: Saved, job: Job, device: str) -> list[Subject]:
    """The SAEs for raw rows. Raises UserError or CheckpointError if one is damaged or has gone."""
    if saved.checkpoint is None:
        return [_finished(name, folder, device) for name, folder in saved.folders.items()]
    return [_in_training(name, folder, job, device) for name, folder in saved.folders.items()]


def check_text_is_unseen(saved: Saved, corpus: Corpus) -> None:
    """Raises UserError if an SAE was trained on another division of the corpus, and may have read what is held out."""
    fingerprints = {name: _fingerprint(folder, saved.checkpoint) for name, folder in saved.folders.items()}
    for name, found in fingerprints.items():
        if found is None:
            raise UserError(f"{name} does not say which text it has not read: it was trained before any was held out")
        if found != corpus.fingerprint:
            now = "the corpus, the seed or evaluation.holdout is not what it was"
            raise UserError(f"{now} when {name} was trained, which may have read what is held out now")


def rows_dtype(saved: Saved, job: Job, device: str) -> str:
    """What the rows were that the SAEs were trained on, by name; as the job file has it where that was not kept."""
    known = None
    if saved.checkpoint is None:
        known = read_facts(next(iter(saved.folders.values()))).headrace.get("dtype")
    return known or resolve_dtype(job.model, device)


def _chosen(folders: dict[str, Path], names: Sequence[str], run_folder: Path) -> dict[str, Path]:
    for name in names:
        if name not in folders:
            raise UserError(f"{run_folder} has no SAE named {name}; it has {', '.join(folders)}")
    return {name: folder for name, folder in folders.items() if not names or name in names}


def _finished(name: str, folder: Path, device: str) -> Subject:
    facts = read_facts(folder)
    return Subject(name, load_sae(folder, device), facts.inputs, facts.targets)


def _in_training(name: str, part: Path, job: Job, device: str) -> Subject:
    config = next(one for one in job.trainers if one.name == name)
    hookpoints = job.model.hookpoints
    sae = Trainer.load(part, config).exported().to(device)
    return Subject(name, sae, config.inputs(hookpoints), config.targets(hookpoints))


def _fingerprint(folder: Path, checkpoint: int | None) -> str | None:
    if checkpoint is None:
        return read_facts(folder).headrace.get("corpus_fingerprint")
    return checkpoints.fingerprint(folder.parent)
