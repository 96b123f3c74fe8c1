"""A part that is slow is not one that is dead: nobody is ended for it, and others wait no more than the log makes them.

Producer and lane are stopped nineteen twentieths of the time, as on a machine that has no time for them; a trainer
sleeps at each step.
"""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from cluster.controller import Outcome
from shared.registry import Registry
from shared.registry_snapshot import Snapshot
from tests.integration.scenario import TRAINERS, make_job, pid_of, run, weights
from tests.paced import ARCHITECTURE

pytestmark = [pytest.mark.long, pytest.mark.slow, pytest.mark.usefixtures("own_ray")]
SLOW = {"name": "paced", "architecture": ARCHITECTURE, "num_latents": 64, "k": 8, "batch_rows": 500, "pause_ms": 250}
LOG_BLOCKS = 3
"""Of 84 kB each, in 256 KiB."""


def test_slow_producer_lane_and_trainer_are_left_alone(tmp_path: Path, gpt2_folder: str, corpus_folder: str) -> None:
    expected = make_job(tmp_path / "free", gpt2_folder, corpus_folder)
    assert run(expected).outcome is Outcome.FINISHED
    job = make_job(tmp_path / "slow", gpt2_folder, corpus_folder, trainers=[*TRAINERS, SLOW])
    leads: list[int] = []

    def watch(registry: Registry, snapshot: Snapshot) -> bool:
        cursors = {name: one.cursor for name, one in snapshot.trainers.items()}
        leads.append(cursors["topk-64"] - cursors["paced"])
        return False

    with slowed("producer-0"), slowed("lane-0"):
        seen = run(job, meanwhile=watch)

    assert seen.outcome is Outcome.FINISHED and seen.imbalances == [] and len(seen.digests) == 1
    assert not [message for message in seen.events if "later" in message or "free again" in message], seen.events
    assert 2 <= max(leads) <= LOG_BLOCKS + 3, "others are held up by no more than the log, and by no less"
    paced = weights(job)
    assert {name: paced[name] for name in weights(expected)} == weights(expected)


@contextmanager
def slowed(role: str) -> Iterator[None]:
    """Lets the actor of that name run for 25 ms in each half second."""
    ending = threading.Event()

    def slow() -> None:
        while not ending.wait(0.025):
            with suppress(AssertionError, ProcessLookupError):
                pid = pid_of(role)
                os.kill(pid, signal.SIGSTOP)
                ending.wait(0.475)
                os.kill(pid, signal.SIGCONT)

    thread = threading.Thread(target=slow)
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join()
