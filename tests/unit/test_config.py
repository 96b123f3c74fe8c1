"""What the classes of the job file promise beside their errors, which test_job_file has."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from shared.active_configs import TopKConfig
from shared.config import Job

ROOT = Path(__file__).parents[2]
RAW: dict[str, Any] = {
    "name": "one",
    "model": {"name": "m", "hookpoints": ["h.0"]},
    "corpus": {"source": "stdlib"},
    "trainers": [{"name": "a", "architecture": "topk", "num_latents": 8, "k": 2}],
    "tokens": 1000,
}


def job(**changes: Any) -> Job:
    return Job.model_validate({**RAW, **changes})


def test_configuration_is_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        job().tokens = 5  # type: ignore[misc]


def test_trainer_reads_the_only_hookpoint_unless_it_names_one() -> None:
    assert job().trainers[0].columns(("h.0",)) == ("h.0",)
    two = {"name": "m", "hookpoints": ["h.0", "h.1"]}
    named = job(model=two, trainers=[{**RAW["trainers"][0], "hookpoint": "h.1"}])
    assert named.trainers[0].columns(named.model.hookpoints) == ("h.1",)
    with pytest.raises(ValidationError, match="must say which of model"):
        job(model=two)


@pytest.mark.parametrize(("producers", "lanes", "window"), [(1, 1, 3), (4, 1, 9), (4, 2, 5), (1, 8, 2)])
def test_window_is_two_units_for_each_producer_of_a_lane_and_one(producers: int, lanes: int, window: int) -> None:
    assert job(producers={"count": producers}, stream={"lanes": lanes}).window_units == window


def test_window_may_be_set() -> None:
    assert job(stream={"window_units": 7}).window_units == 7


@pytest.mark.parametrize(("tokens", "blocks"), [(1, 1), (8192, 1), (8193, 2)])
def test_last_block_may_be_short(tokens: int, blocks: int) -> None:
    assert job(tokens=tokens).num_blocks == blocks


def test_block_must_fit_into_the_reservoir() -> None:
    with pytest.raises(ValidationError, match=r"block_rows \(9\) must be at most buffer_rows \(8\)"):
        job(stream={"block_rows": 9, "buffer_rows": 8})


def test_evaluating_while_it_runs_needs_text_that_is_held_out() -> None:
    with pytest.raises(
        ValidationError, match=r"every_blocks needs text to evaluate on: set evaluation\.holdout above 0"
    ):
        job(evaluation={"holdout": 0, "every_blocks": 10})
    assert job(evaluation={"every_blocks": 10}).evaluation.holdout == 0.01


def test_k_is_bounded_by_the_latents() -> None:
    for k in (0, 9):
        with pytest.raises(ValidationError, match="k must be between 1 and num_latents"):
            TopKConfig(name="a", architecture="topk", num_latents=8, k=k)


def test_configuration_imports_nothing_heavy() -> None:
    code = "import sys, shared.job_file; print({'torch', 'ray', 'transformers', 'pyarrow', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
