"""Held-out text: measured while the job runs, by an actor that nobody waits for."""

from pathlib import Path

import pytest

from cluster.controller import Outcome
from cluster.metrics_store import read_metrics
from cluster.status import status_facts
from shared.config import Job
from shared.registry_snapshot import Snapshot
from tests.integration.scenario import TRAINERS, held_until, make_job, run, weights

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("own_ray")]
HELD_OUT = {"holdout": 0.1, "contexts": 8, "contexts_per_forward": 4}


def test_checkpoints_are_measured_while_the_stream_goes_on_and_no_weight_differs_for_it(
    tmp_path: Path, gpt2_folder: str, corpus_folder: str
) -> None:
    plain = make_job(tmp_path / "plain", gpt2_folder, corpus_folder, evaluation=HELD_OUT, trainers=TRAINERS[1:3])
    run(plain)
    measured = {"evaluation": {**HELD_OUT, "every_blocks": 10}, "trainers": TRAINERS[1:3]}
    job = make_job(tmp_path / "measured", gpt2_folder, corpus_folder, **measured)
    seen = run(job, meanwhile=held_until("trainer-topk-slow", lambda snapshot: len(snapshot.evaluations) == 2))
    assert seen.outcome is Outcome.FINISHED and seen.imbalances == []
    assert weights(job) == weights(plain)
    assert set(seen.snapshot.evaluations) == {one.name for one in job.trainers}
    first = seen.snapshot.evaluations["relu"]
    assert first.block >= 10 and first.tokens == 1000 * first.block and first.contexts == 8
    assert first.fvu is not None and 0 < first.fvu < 2 and first.ce_increase is not None
    check_what_is_shown(job, seen.snapshot, seen.events)


def check_what_is_shown(job: Job, snapshot: Snapshot, events: list[str]) -> None:
    facts = status_facts(snapshot, job)
    assert facts["held_out_contexts"] > 50
    assert all(one["evaluation"]["fvu"] > 0 for one in facts["trainers"])
    assert any(one.startswith("checkpoint ") and "on held-out text: FVU" in one for one in events)
    measured = read_metrics(Path(job.output)).to_pylist()
    fields = {one["field"] for one in measured if one["source"] == "evaluation-relu"}
    assert {"tokens", "fvu", "l0", "ce_increase", "kl_spliced", "seconds"} <= fields
