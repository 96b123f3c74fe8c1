"""What is said of a job before anything starts: here, about the text that it holds out."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"

from pathlib import Path

import pytest
from tiny_models import text, tiny_gpt2

from cluster.preparation import prepare
from shared.config import Job
from shared.errors import UserError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, and a corpus of twenty files of one slice each."""
    folder = tmp_path_factory.mktemp("job")
    tiny_gpt2(folder / "model")
    (folder / "texts").mkdir()
    for number in range(20):
        (folder / "texts" / f"{number}.txt").write_text(text(300, seed=number))
    return folder


def job(folder: Path, **evaluation: float) -> Job:
    raw = {
        "name": "demo",
        "model": {"name": str(folder / "model"), "hookpoints": ["transformer.h.1"]},
        "corpus": {"source": str(folder / "texts"), "context_tokens": 32},
        "trainers": [{"name": "a", "architecture": "topk", "num_latents": 32, "k": 4}],
        "tokens": 1000,
        "evaluation": evaluation,
    }
    return Job.model_validate(raw)


def test_what_is_held_out_is_known_before_anything_starts(folder: Path) -> None:
    prepared = prepare(job(folder, holdout=0.1))
    assert prepared.held_out_contexts == pytest.approx(2 * 300 * 6 / 3.5 / 32, rel=0.3)
    assert prepared.nothing_held_out == ""
    assert prepared.corpus_facts["held_out_contexts"] == prepared.held_out_contexts
    assert prepared.fingerprint != prepare(job(folder, holdout=0)).fingerprint


def test_a_corpus_that_is_too_small_says_from_which_share_on_it_would_do(folder: Path) -> None:
    prepared = prepare(job(folder))
    assert prepared.held_out_contexts == 0
    assert "no piece as small as 0.01 of it; evaluation.holdout from 0.025 on would" in prepared.nothing_held_out
    assert prepare(job(folder, holdout=0.025)).held_out_contexts > 0
    assert prepared.fingerprint == prepare(job(folder, holdout=0)).fingerprint


def test_evaluating_while_the_job_runs_is_refused_where_nothing_is_held_out(folder: Path) -> None:
    with pytest.raises(UserError, match=r"^evaluation\.every_blocks: no text is held out"):
        prepare(job(folder, every_blocks=10))
    assert prepare(job(folder, holdout=0)).nothing_held_out == ""
