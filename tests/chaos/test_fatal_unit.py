"""A unit that kills whoever does it is set aside after five attempts; all others are read, and everybody says so."""

import os
import signal
from pathlib import Path

import pytest

from cluster.controller import Outcome
from shared.job_state import JobState
from shared.registry import Registry
from shared.registry_snapshot import Snapshot
from tests.integration.scenario import TRAINERS, make_job, pid_of, run
from tests.paced import ARCHITECTURE

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("own_ray")]
FATAL, MAX_ATTEMPTS = 9, 5
PACED = {"name": "paced", "architecture": ARCHITECTURE, "num_latents": 64, "k": 8, "batch_rows": 500, "pause_ms": 250}
"""So slow that a producer waits for room while it holds the unit."""


class Fate:
    """Kills each producer that holds the unit as the lowest of its own: the one that is in the model."""

    def __init__(self) -> None:
        self.killed: list[int] = []
        self.states: set[JobState] = set()

    def look(self, registry: Registry, snapshot: Snapshot) -> bool:
        self.states.add(snapshot.job.state)
        leased = snapshot.units.leased
        holder = leased.get(FATAL)
        if holder is not None and min(unit for unit, role in leased.items() if role == holder) == FATAL:
            self._kill(holder)
        return False

    def _kill(self, role: str) -> None:
        try:
            pid = pid_of(role)
        except AssertionError:
            return  # dead, and the driver has not said so yet
        if pid not in self.killed:
            self.killed.append(pid)
            os.kill(pid, signal.SIGKILL)


def test_a_unit_that_kills_every_producer_is_set_aside(tmp_path: Path, gpt2_folder: str, corpus_folder: str) -> None:
    fate = Fate()
    producers = {"count": 2, "contexts_per_forward": 1}  # so that a unit takes longer than a look
    job = make_job(tmp_path, gpt2_folder, corpus_folder, producers=producers, trainers=[*TRAINERS[1:], PACED])
    seen = run(job, meanwhile=fate.look)
    assert seen.outcome is Outcome.FINISHED and seen.imbalances == [], (seen.imbalances, seen.events)
    assert len(fate.killed) == MAX_ATTEMPTS
    (dead,) = seen.snapshot.units.dead
    assert dead.unit == FATAL
    assert [one for one in seen.events if one.startswith(f"unit {FATAL} was set aside after {MAX_ATTEMPTS} attempts: ")]
    assert JobState.DEGRADED in fate.states
    assert len(seen.digests) == 1 and {one.rows for one in seen.snapshot.trainers.values()} == {40_000}
