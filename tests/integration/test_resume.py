"""A job that was stopped and resumed ends with the weights of one that was not, bit by bit."""

from pathlib import Path

import pytest

from cluster import checkpoints
from cluster.controller import Outcome
from shared.config import Job
from shared.registry import Registry
from tests.integration.scenario import TRAINERS, Seen, kill, make_job, run, stop, weights, when_block

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("own_ray")]


SLOWEST = {"name": "topk-slow", "architecture": "topk", "num_latents": 512, "k": 8, "batch_rows": 16}
NUM_BLOCKS = 40
LONG = {"tokens": 1000 * NUM_BLOCKS, "trainers": [SLOWEST, *TRAINERS[2:]], "stream__lanes": 2}
"""With a trainer of small steps for which all wait: an early stop comes in the middle."""


def stopped_at(job: Job, seen: Seen) -> int:
    """The block at which the job was saved whole."""
    checkpoint = checkpoints.newest(Path(job.output))
    assert seen.outcome is Outcome.STOPPED and seen.imbalances == [] and checkpoint is not None
    assert {one.cursor for one in seen.snapshot.trainers.values()} == {checkpoint.block}
    return checkpoint.block


def same_end(first: Seen, second: Seen) -> bool:
    ended = first.outcome is second.outcome is Outcome.FINISHED and first.imbalances == second.imbalances == []
    return ended and first.digests == second.digests and len(first.digests) == 1


def stop_and_kill(registry: Registry) -> None:
    """Whoever dies while the job stops is replaced, and saves all the same."""
    stop(registry)
    kill("trainer-relu")(registry)


def test_stopped_moved_and_resumed_it_ends_as_if_nothing_had_been(
    tmp_path: Path, gpt2_folder: str, corpus_folder: str
) -> None:
    whole = make_job(tmp_path / "whole", gpt2_folder, corpus_folder, **LONG)
    expected = run(whole)
    parts = make_job(tmp_path / "parts", gpt2_folder, corpus_folder, **LONG)
    assert 5 <= stopped_at(parts, run(parts, meanwhile=when_block(5, stop_and_kill))) < NUM_BLOCKS

    elsewhere = tmp_path / "elsewhere" / "copied"  # where no registry knows of it
    elsewhere.parent.mkdir()
    Path(parts.output).rename(elsewhere)
    two_producers = parts.producers.model_copy(update={"count": 2})
    moved = parts.model_copy(update={"output": str(elsewhere), "producers": two_producers})
    assert same_end(run(moved, resume=True), expected)
    assert weights(moved) == weights(whole)
