"""Nobody waits for the evaluator: a job goes on without one that dies again and again."""

from collections import Counter
from pathlib import Path

import pytest

from cluster.controller import Outcome
from shared.registry_snapshot import Snapshot
from tests.integration.scenario import TRAINERS, held_until, kill, make_job, pid_of, run

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("own_ray")]
HELD_OUT = {"holdout": 0.1, "contexts": 8, "contexts_per_forward": 4}


def test_an_evaluator_that_dies_again_and_again_leaves_the_job_alone(
    tmp_path: Path, gpt2_folder: str, corpus_folder: str
) -> None:
    changes = {"evaluation": {**HELD_OUT, "every_blocks": 10}, "tokens": 20_000, "trainers": TRAINERS[1:]}
    job = make_job(tmp_path, gpt2_folder, corpus_folder, **changes)
    killed: Counter[int] = Counter()

    def all_dead(snapshot: Snapshot) -> bool:
        try:
            pid = pid_of("evaluator")
        except AssertionError:  # between two lives, or after the last
            return len(killed) == 3
        if pid and not killed[pid]:
            killed[pid] += 1
            kill("evaluator")(None)  # type: ignore[arg-type]
        return False

    seen = run(job, meanwhile=held_until("trainer-topk-slow", all_dead))
    assert seen.outcome is Outcome.FINISHED and seen.imbalances == []
    deaths = [one for one in seen.events if one.startswith("evaluator ")]
    assert [one.rpartition("; ")[2] for one in deaths] == ["begun again"] * 2 + ["the job goes on without it"]
    assert {one.rows for one in seen.snapshot.trainers.values()} == {20_000}
