"""A Redis that hangs for longer than anybody tries again at once: all wait, and nobody is taken for hung."""

import os
import signal
import threading
from pathlib import Path

import pytest

from cluster.controller import Outcome
from shared.registry import Registry
from tests.integration.scenario import TRAINERS, make_job, run, weights, when_block

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("own_ray")]
SLOW = {"name": "topk-slow", "architecture": "topk", "num_latents": 512, "k": 8, "batch_rows": 16}
AWAY_S = 50.0
"""Clients try for 30 s; a heartbeat is missed after as many."""


def freeze(registry: Registry) -> None:
    """Stops the server for a while."""
    pid = int(registry._client.info("server")["process_id"])  # type: ignore[index]
    os.kill(pid, signal.SIGSTOP)
    threading.Timer(AWAY_S, os.kill, [pid, signal.SIGCONT]).start()


def test_a_job_waits_for_a_redis_that_hangs(tmp_path: Path, gpt2_folder: str, corpus_folder: str) -> None:
    plain = make_job(tmp_path / "plain", gpt2_folder, corpus_folder, trainers=[SLOW, TRAINERS[2]])
    expected = run(plain)
    job = make_job(tmp_path, gpt2_folder, corpus_folder, trainers=[SLOW, TRAINERS[2]])
    seen = run(job, meanwhile=when_block(5, freeze))
    assert seen.outcome is Outcome.FINISHED and seen.imbalances == []
    assert not any("later" in message or "silent" in message for message in seen.events), seen.events
    assert seen.digests == expected.digests and weights(job) == weights(plain)
    took_ms = seen.snapshot.time_ms - seen.snapshot.job.created_ms
    assert took_ms > 1000 * AWAY_S
