"""Runs small jobs as `headrace run` does, and looks at what they leave and at what happens meanwhile."""

import contextlib
import io
import os
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from ray._private.state import actors
from rich.console import Console

from cluster.controller import Outcome
from cluster.run_job import run_job
from shared.config import Job
from shared.errors import HeadraceError
from shared.job_file import parse_job
from shared.ledger import ledger
from shared.registry import Registry
from shared.registry_place import open_registry
from shared.registry_snapshot import Snapshot

TRAINERS = [
    {"name": "topk-{num_latents}", "architecture": "topk", "num_latents": [64, 128], "k": 8, "batch_rows": 500},
    {"name": "topk-slow", "architecture": "topk", "num_latents": 512, "k": 8, "batch_rows": 64},
    {"name": "relu", "architecture": "relu_l1", "num_latents": 64, "batch_rows": 256, "lr": 0.001},
]


def make_job(folder: Path, model_folder: str, corpus_folder: str, **changes: Any) -> Job:
    """A job of 40,000 rows in 40 blocks that takes some seconds; `changes` are dotted keys with __ for the dots."""
    raw: dict[str, Any] = {
        "name": "scenario",
        "model": {"name": model_folder, "hookpoints": ["transformer.h.1"]},
        "corpus": {"source": f"{corpus_folder}/*.txt", "context_tokens": 64, "unit_contexts": 32},
        "producers": {"count": 1, "contexts_per_forward": 8},
        "stream": {"buffer_rows": 8000, "block_rows": 1000, "log_bytes": "256KiB"},
        "trainers": TRAINERS,
        "tokens": 40_000,
        "checkpoint": {"every_blocks": 10, "keep": 2},
        "output": str(folder / "run"),
    }
    for key, value in changes.items():
        section, _, name = key.rpartition("__")
        (raw[section] if section else raw)[name] = value
    return parse_job(yaml.safe_dump(raw))


@dataclass
class Seen:
    """What was seen of a run, while it ran and at its end."""

    outcome: Outcome
    snapshot: Snapshot
    imbalances: list[str]
    num_looks: int
    events: list[str] = field(default_factory=list)

    @property
    def digests(self) -> set[tuple[str, str]]:
        return {(one.address_digest, one.bits_digest) for one in self.snapshot.trainers.values()}


def weights(job: Job) -> dict[str, bytes]:
    """Trainer -> the bytes of its SAE's weights."""
    folder = Path(job.output) / "saes"
    return {one.name: (one / "sae_weights.safetensors").read_bytes() for one in folder.iterdir()}


def run(job: Job, resume: bool = False, meanwhile: "Callable[[Registry, Snapshot], bool] | None" = None) -> Seen:
    """Runs `job` to its end, checking the ledger all the time; `meanwhile` is called until it returns True."""
    Path(job.output).parent.mkdir(parents=True, exist_ok=True)
    runs_folder = Path(job.output).parent
    with (
        open_registry(job.registry, runs_folder) as client,
        _looking(Registry(client, job.name), meanwhile) as (imbalances, looks),
    ):
        outcome = run_job(job, resume, Console(file=io.StringIO()))
    with open_registry(job.registry, runs_folder) as client:  # the run has stopped a server of its own
        registry = Registry(client, job.name)
        snapshot = registry.snapshot()
        imbalances += ledger(snapshot).imbalances()
        return Seen(outcome, snapshot, imbalances, len(looks), [one.message for one in registry.events(count=1000)])


@contextlib.contextmanager
def _looking(
    registry: Registry, meanwhile: "Callable[[Registry, Snapshot], bool] | None"
) -> Iterator[tuple[list[str], list[int]]]:
    imbalances: list[str] = []
    looks: list[int] = []
    ending = threading.Event()

    def look() -> None:
        done = meanwhile is None
        while not ending.wait(0.05):
            with contextlib.suppress(HeadraceError):
                snapshot = registry.snapshot()
                if not snapshot.lanes:
                    continue
                imbalances.extend(ledger(snapshot).imbalances())
                looks.append(1)
                done = done or (meanwhile is not None and meanwhile(registry, snapshot))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield imbalances, looks
    finally:
        ending.set()
        thread.join(10)


def when_block(block: int, act: Callable[[Registry], None]) -> Callable[[Registry, Snapshot], bool]:
    """Does `act` once all trainers have read `block` blocks."""

    def meanwhile(registry: Registry, snapshot: Snapshot) -> bool:
        if not snapshot.trainers or min(one.cursor for one in snapshot.trainers.values()) < block:
            return False
        act(registry)
        return True

    return meanwhile


def kill(role: str, number: signal.Signals = signal.SIGKILL) -> Callable[[Registry], None]:
    """Sends a signal to the process of an actor of this process's own Ray: `producer-0`, `lane-0`, `trainer-relu`."""

    def act(registry: Registry) -> None:
        os.kill(pid_of(role), number)

    return act


def pid_of(role: str) -> int:
    """The process of the live actor of that name."""
    found = [one for one in actors().values() if one["Name"] == role and one["State"] == "ALIVE"]
    assert len(found) == 1, f"{len(found)} live actors named {role}"
    return found[0]["Pid"]


def stop(registry: Registry) -> None:
    """As `headrace stop` does."""
    registry.request_stop()


def held_until(role: str, wanted: Callable[[Snapshot], bool]) -> Callable[[Registry, Snapshot], bool]:
    """Stops a trainer once a checkpoint is there, and so the stream, until `wanted`; nobody is to be in a hurry."""
    stopped: list[int] = []

    def meanwhile(registry: Registry, snapshot: Snapshot) -> bool:
        if not stopped and max(snapshot.checkpoints, default=0) > 0:
            stopped.append(pid_of(role))
            os.kill(stopped[0], signal.SIGSTOP)
        if not stopped or not wanted(snapshot):
            return False
        os.kill(stopped[0], signal.SIGCONT)
        return True

    return meanwhile
