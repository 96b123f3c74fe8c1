"""Held-out text: measured while the job runs by an actor that nobody waits for, and afterwards on the demo's model."""

from pathlib import Path

import pytest
import yaml

from cluster.controller import Outcome
from cluster.metrics_store import read_metrics
from cluster.run_evaluation import evaluate_run
from cluster.status import status_facts
from shared.config import Job
from shared.job_file import parse_job
from shared.registry_snapshot import Snapshot
from tests.integration.scenario import TRAINERS, held_until, make_job, run, weights

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("own_ray")]
DEMO_MODEL = Path(__file__).resolve().parents[2] / "examples" / "demo_lm" / "model"
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


def test_the_demo_model_loses_less_by_an_sae_than_by_zeros_and_less_by_a_larger_one(tmp_path: Path) -> None:
    raw = {
        "name": "demo",
        "model": {"name": str(DEMO_MODEL), "hookpoints": ["transformer.h.3"]},
        "corpus": {"source": "stdlib", "context_tokens": 128, "unit_contexts": 32},
        "producers": {"contexts_per_forward": 16},
        "stream": {"buffer_rows": 16384, "block_rows": 2048},
        "trainers": [
            {"name": f"topk-{n}", "architecture": "topk", "num_latents": n, "k": 16, "batch_rows": 512, "lr": 0.002}
            for n in (128, 1024)
        ],
        "tokens": 65_536,
        "output": str(tmp_path / "run"),
    }
    job = parse_job(yaml.safe_dump(raw))
    assert run(job).outcome is Outcome.FINISHED
    small, large = evaluate_run(Path(job.output), job, contexts=24).found
    assert small["contexts"] == 24 and small["tokens"] > 24 * 100
    for one in (small, large):
        splice = one["splice"]
        assert 2 < splice["ce_clean"] < splice["ce_spliced"] < splice["ce_mean"] < splice["ce_zero"] < 15
        assert 0.5 < splice["ce_recovered"] < 1 and 0.5 < splice["kl_recovered"] < 1
        assert 0 < one["fvu"] < 0.6 and one["l0"] == pytest.approx(16, abs=0.1) and one["cosine"] > 0.7
    assert large["fvu"] < small["fvu"] and large["splice"]["kl_spliced"] < small["splice"]["kl_spliced"]
