"""A trainer that may not hold up the rest passes over what must go, and everybody can see what it missed."""

import json
import signal
import threading
from pathlib import Path

import pytest

from cluster.controller import Outcome
from cluster.metrics_store import read_metrics
from shared.registry import Registry
from tests.integration.scenario import TRAINERS, kill, make_job, run, when_block

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("own_ray")]
SLOW = "topk-slow"


def pause(registry: Registry) -> None:
    """Stops the trainer for as long as the others need to leave it behind."""
    kill(f"trainer-{SLOW}", signal.SIGSTOP)(registry)
    threading.Timer(8, kill(f"trainer-{SLOW}", signal.SIGCONT), [registry]).start()


def test_a_trainer_that_yields_is_left_behind_and_its_gap_is_in_ledger_and_cfg(
    tmp_path: Path, gpt2_folder: str, corpus_folder: str
) -> None:
    trainers = [{**one, "lag_policy": "detach"} if one["name"] == SLOW else one for one in TRAINERS[1:]]
    job = make_job(tmp_path, gpt2_folder, corpus_folder, trainers=trainers)
    seen = run(job, meanwhile=when_block(5, pause))
    assert seen.outcome is Outcome.FINISHED and seen.imbalances == []
    others = {name: one for name, one in seen.snapshot.trainers.items() if name != SLOW}
    assert {one.rows for one in others.values()} == {40_000}
    assert len({one.address_digest for one in others.values()}) == 1
    slow = seen.snapshot.trainers[SLOW]
    assert slow.gap_rows > 0 and slow.rows + slow.gap_rows == 40_000
    metrics = read_metrics(Path(job.output)).to_pylist()
    gaps = [one["value"] for one in metrics if (one["source"], one["field"]) == (f"trainer-{SLOW}", "gap_tokens")]
    assert gaps[-1] == slow.gap_rows
    facts = json.loads((Path(job.output) / "saes" / SLOW / "cfg.json").read_text())["metadata"]["headrace"]
    assert facts["gap_tokens"] == slow.gap_rows == 1000 * sum(end - first for first, end in facts["gaps"])
