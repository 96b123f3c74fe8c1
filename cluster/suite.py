"""The finished SAEs of one run or several, with the numbers by which they are compared."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from cluster.job_place import read_run
from shared.config import Job
from shared.errors import UserError
from shared.trainer_config import TrainerConfig

CONFIG = "cfg.json"
METRICS = "metrics.json"
EVALUATION = "evaluation.json"
SPARSITY_KEY = re.compile(r"k|active_proportion|target_\w+|\w+_coefficient")
"""Trainer keys that say how sparse an SAE is to be."""


class Site(NamedTuple):
    """What SAEs must share to be compared: the same rows in, the same rows out."""

    model: str
    inputs: tuple[str, ...]
    targets: tuple[str, ...]

    def __str__(self) -> str:
        """`transformer.h.8 of openai-community/gpt2`, `a → b of …` for a transcoder."""
        read, made = " + ".join(self.inputs), " + ".join(self.targets)
        return f"{read if read == made else f'{read} → {made}'} of {self.model}"


@dataclass(frozen=True)
class SuiteSae:
    """One finished SAE."""

    name: str
    """As the run has it; `run/name` where there are several runs."""
    folder: Path
    site: Site
    architecture: str
    d_in: int
    d_out: int
    num_latents: int
    sparsity: str
    """What its trainer was told: `k=32`."""
    tokens: int
    """Rows that it was trained on."""
    fvu: float
    l0: float
    ce_delta: float | None
    """Rise of the model's cross-entropy with the reconstruction in place, nats per token."""
    dead_fraction: float | None
    """As training counted it."""
    source: str
    """Where FVU and L0 come from: held-out text, or the last twentieth of training."""


@dataclass(frozen=True)
class Suite:
    """All of them, and what could not be had."""

    runs: tuple[Path, ...]
    saes: list[SuiteSae]
    jobs: dict[Site, Job]
    """A job that has SAEs at each site."""
    missing: list[str]
    """A sentence for each thing that is not there."""

    @property
    def sites(self) -> list[Site]:
        return list(dict.fromkeys(one.site for one in self.saes))

    def at(self, site: Site) -> list[SuiteSae]:
        """The SAEs of a site: by architecture, then size, then L0."""
        mine = [one for one in self.saes if one.site == site]
        return sorted(mine, key=lambda one: (one.architecture, one.num_latents, one.l0, one.tokens, one.name))


def read_suite(runs: Sequence[Path]) -> Suite:
    """The SAEs of `runs`.

    Raises:
        UserError: one is no run folder, two are the same, or none has a finished SAE.
    """
    resolved = [run.resolve() for run in runs]
    if len(set(resolved)) < len(resolved):
        raise UserError("a run is named twice")
    saes, jobs, missing = list[SuiteSae](), dict[Site, Job](), list[str]()
    for run in runs:
        job = read_run(run)
        if job is None:
            raise UserError(f"{run} is not a run folder: it holds no job.yaml")
        found = _read(run, job, f"{run.resolve().name}/" if len(runs) > 1 else "", missing)
        saes += found
        jobs = {one.site: job for one in found} | jobs
    if not saes:
        raise UserError(f"there is no finished SAE in {', '.join(str(run) for run in runs)}")
    missing += _mixed_sources(saes)
    return Suite(tuple(runs), saes, jobs, missing)


def _read(run: Path, job: Job, prefix: str, missing: list[str]) -> list[SuiteSae]:
    folders = sorted(path.parent for path in (run / "saes").glob(f"*/{CONFIG}"))
    waiting = [one.name for one in job.trainers if one.name not in {folder.name for folder in folders}]
    if waiting:
        names = "every SAE" if len(waiting) == len(job.trainers) else ", ".join(waiting)
        missing.append(f"Not finished in {run}, and left out: {names}.")
    trainers, found = {one.name: one for one in job.trainers}, []
    for folder in folders:
        try:
            found.append(_sae(folder, job, trainers.get(folder.name), prefix))
        except (KeyError, TypeError, ValueError) as error:
            missing.append(f"{folder} is left out: {error if isinstance(error, UserError) else f'no {error}'}.")
    return found


def _sae(folder: Path, job: Job, trainer: TrainerConfig | None, prefix: str) -> SuiteSae:
    """The SAE's own word on what it is, and its trainer's on how it came about."""
    config, metrics, evaluation = (_json(folder / name) for name in (CONFIG, METRICS, EVALUATION))
    metadata = config.get("metadata") or {}
    headrace = metadata.get("headrace") or {}
    is_evaluated = evaluation.get("fvu") is not None and evaluation.get("l0") is not None
    numbers = evaluation if is_evaluated else metrics
    if numbers.get("fvu") is None or not numbers.get("l0"):
        raise UserError(f"{METRICS} has no FVU or no L0")
    return SuiteSae(
        name=prefix + folder.name,
        folder=folder,
        site=_site(metadata, headrace, job),
        architecture=trainer.architecture if trainer else config["architecture"],
        d_in=int(config["d_in"]),
        d_out=int(config.get("d_out") or config["d_in"]),
        num_latents=int(config["d_sae"]),
        sparsity=_sparsity(trainer.model_dump() if trainer else config),
        tokens=int(metrics["tokens"]),
        fvu=float(numbers["fvu"]),
        l0=float(numbers["l0"]),
        ce_delta=(evaluation.get("splice") or {}).get("ce_increase"),
        dead_fraction=metrics.get("dead_fraction"),
        source=EVALUATION if is_evaluated else METRICS,
    )


def _site(metadata: dict[str, Any], headrace: dict[str, Any], job: Job) -> Site:
    hookpoint = metadata.get("hf_hook_name") or job.model.hookpoints[0]
    inputs = tuple(headrace.get("inputs") or [hookpoint])
    return Site(metadata.get("model_name") or job.model.name, inputs, tuple(headrace.get("targets") or inputs))


def _sparsity(settings: dict[str, Any]) -> str:
    """`k=32`; the keys that are set and say it, in order."""
    chosen = {key: value for key, value in settings.items() if SPARSITY_KEY.fullmatch(key) and value is not None}
    return ", ".join(f"{key}={value:g}" for key, value in chosen.items() if isinstance(value, (int, float)))


def _mixed_sources(saes: list[SuiteSae]) -> list[str]:
    trained = [one.name for one in saes if one.source == METRICS]
    if not trained:
        return []
    if len(trained) == len(saes):
        return [
            "No SAE has been evaluated: FVU and L0 are those of training; headrace evaluate measures held-out text."
        ]
    names = ", ".join(trained)
    return [f"FVU and L0 are of held-out text, but for {names}, where they are those of training: compare with care."]


def _json(path: Path) -> dict[str, Any]:
    """What a file holds; empty where it is not there. Raises UserError where it is damaged."""
    try:
        found = json.loads(path.read_bytes())
    except OSError:
        return {}
    except ValueError:
        raise UserError(f"{path.name} is not JSON") from None
    if not isinstance(found, dict):
        raise UserError(f"{path.name} is not a JSON object")
    return found
