"""A stop that a trainer far behind would hold up ends in its window, and what was not saved is done again."""

from pathlib import Path

import pytest

from cluster import checkpoints
from cluster.controller import Outcome
from shared.job_state import JobState
from shared.registry import Registry
from shared.registry_snapshot import Snapshot
from tests.integration.scenario import TRAINERS, make_job, run, weights
from tests.paced import ARCHITECTURE

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("own_ray")]
PACED = {"name": "paced", "architecture": ARCHITECTURE, "num_latents": 64, "k": 8, "batch_rows": 250, "pause_ms": 250}
"""A second for each block."""
WITHIN_S, LEAD = 5.0, 15
"""Blocks that it would take three times as long to read."""


def test_a_stop_ends_in_its_window_however_far_behind_somebody_is(
    tmp_path: Path, gpt2_folder: str, corpus_folder: str
) -> None:
    changes = {
        "trainers": [TRAINERS[2], PACED],
        "stream__spool_bytes": "64MiB",
        "checkpoint": {"every_blocks": 5, "stop_within_s": WITHIN_S},
    }
    leading: list[int] = []

    def meanwhile(registry: Registry, snapshot: Snapshot) -> bool:
        cursors = {name: one.cursor for name, one in snapshot.trainers.items()}
        if len(cursors) < 2 or cursors["relu"] - cursors["paced"] < LEAD or max(snapshot.checkpoints, default=0) == 0:
            return False
        registry.request_stop()
        leading.append(cursors["relu"])
        return True

    job = make_job(tmp_path, gpt2_folder, corpus_folder, **changes)
    seen = run(job, meanwhile=meanwhile)
    assert seen.outcome is Outcome.CUT_SHORT and seen.snapshot.job.state is JobState.STOPPED and seen.imbalances == []
    (said,) = [message for message in seen.events if "stopped: not all could save" in message]
    assert seen.snapshot.trainers["paced"].cursor < leading[0], "it has waited for the slowest"
    newest = checkpoints.newest(Path(job.output))
    assert newest is not None and said.endswith(f": what comes after block {newest.block} will be done again")
    assert 0 < newest.block <= seen.snapshot.trainers["paced"].cursor + 1

    assert run(job, resume=True).outcome is Outcome.FINISHED
    plain = make_job(tmp_path / "plain", gpt2_folder, corpus_folder, trainers=[TRAINERS[2], {**PACED, "pause_ms": 0}])
    assert run(plain).outcome is Outcome.FINISHED and weights(plain) == weights(job)
