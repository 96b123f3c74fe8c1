"""What a run folder holds, read for the report; whatever is missing or damaged becomes a sentence, not an error."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from cluster.curves import Curves
from cluster.metrics_store import read_metrics
from shared.config import Job
from shared.errors import UserError
from shared.job_file import load_job
from shared.registry_facts import Measurement
from shared.trainer_config import recorded_place

JOB_FILE = "job.yaml"


@dataclass(frozen=True)
class SaeRow:
    """One SAE, finished or in training."""

    name: str
    architecture: str | None
    num_latents: int | None
    k: int | None
    hookpoint: str | None
    tokens: int
    fvu: float | None
    l0: float | None
    dead_fraction: float | None
    tokens_per_s: float | None
    path: str | None
    """In the run folder; None while it is in training."""
    held_out: dict[str, Any] | None = None
    """What its evaluation.json holds, or else the newest that was measured while it trained; None where nothing was."""


@dataclass(frozen=True)
class RunFacts:
    """A run, as far as its folder tells."""

    folder: Path
    job: Job
    curves: Curves
    saes: list[SaeRow]
    ledger: dict[str, Any] | None
    events: list[dict[str, Any]]
    software: str
    """Where the report is written."""
    missing: list[str] = field(default_factory=list)
    """A sentence for each part that is not there."""


def read_run(folder: Path, newer: Sequence[Measurement] = ()) -> RunFacts:
    """Everything that `folder` holds; `newer` are measurements that may not have come there yet.

    Raises:
        UserError: it is no run folder, or its job file is damaged.
    """
    if not (folder / JOB_FILE).is_file():
        raise UserError(f"{folder} is not a run folder: it holds no {JOB_FILE}")
    job, missing = load_job(folder / JOB_FILE), list[str]()
    curves = _curves(folder, newer, missing)
    saes = [_sae(folder, job, name, curves) for name in _names(folder, job)]
    if unfinished := [one.name for one in saes if one.path is None]:
        names = "every SAE" if len(unfinished) == len(saes) else ", ".join(unfinished)
        missing.append(f"Still in training: {names}. Their numbers are the latest that were measured.")
    ledger, events = _json(folder / "ledger.json", dict, missing), _json(folder / "events.json", list, missing)
    return RunFacts(folder, job, curves, saes, ledger, events or [], _software(), missing)


def _curves(folder: Path, newer: Sequence[Measurement], missing: list[str]) -> Curves:
    curves = Curves.of(read_metrics(folder, newer, lambda sentence: missing.append(f"{sentence}.")))
    if not curves.series:
        missing.append("Nothing has been measured yet, so there are no curves.")
    return curves


def _names(folder: Path, job: Job) -> list[str]:
    """The job's trainers, then SAEs of trainers that have left it."""
    names = [trainer.name for trainer in job.trainers]
    found = sorted(path.parent.name for path in (folder / "saes").glob("*/cfg.json"))
    return names + [name for name in found if name not in names]


def _sae(folder: Path, job: Job, name: str, curves: Curves) -> SaeRow:
    """The job's word first, then the SAE's own, then the latest measurement."""
    trainer = next((one for one in job.trainers if one.name == name), None)
    config, metrics = (_json(folder / "saes" / name / file, dict) or {} for file in ("cfg.json", "metrics.json"))
    latest = {field: curves.last(f"trainer-{name}", field) for field in ("tokens", "fvu", "l0", "dead_fraction")}
    known = {**latest, **metrics}
    facts = config.get("metadata") or {}
    return SaeRow(
        name=name,
        architecture=trainer.architecture if trainer else config.get("architecture"),
        num_latents=trainer.num_latents if trainer else config.get("d_sae"),
        k=getattr(trainer, "k", config.get("k")),
        hookpoint=trainer.place(job.model.hookpoints) if trainer else recorded_place(facts),
        tokens=int(known["tokens"] or 0),
        fvu=known["fvu"],
        l0=known["l0"],
        dead_fraction=known["dead_fraction"],
        tokens_per_s=metrics.get("tokens_per_s") or curves.median(f"trainer-{name}", "rows_per_s"),
        path=f"saes/{name}" if config else None,
        held_out=_held_out(folder, name, curves),
    )


def _held_out(folder: Path, name: str, curves: Curves) -> dict[str, Any] | None:
    """Numbers alone on top, those of a reconstruction in place among them; `trained_tokens` says as of when."""
    found = _json(folder / "saes" / name / "evaluation.json", dict)
    if found and "contexts" in found:
        return {**found, **(found.get("splice") or {})}
    source = f"evaluation-{name}"
    latest = {field: curves.last(source, field) for field in curves.fields(source)}
    return {**latest, "trained_tokens": latest["tokens"], "tokens": None} if "tokens" in latest else None


def _json(path: Path, kind: type, missing: list[str] | None = None) -> Any:
    """What a file holds; None, and a sentence in `missing`, where that is not a `kind`."""
    try:
        found = json.loads(path.read_bytes())
        reason = "" if isinstance(found, kind) else f"{path.name} does not hold what it should."
    except OSError:
        reason = f"There is no {path.name} yet."
    except ValueError:
        reason = f"{path.name} is damaged: it is not JSON."
    if reason and missing is not None:
        missing.append(reason)
    return None if reason else found


def _software() -> str:
    """`Headrace 0.1.0, torch 2.9.0, …`, by what is installed, without importing it."""
    found = {name: _version(name) for name in ("headrace", "torch", "transformers", "ray")}
    return ", ".join(f"{name.replace('headrace', 'Headrace')} {version}".strip() for name, version in found.items())


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""
