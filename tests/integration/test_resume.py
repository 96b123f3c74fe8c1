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
NUM_BLOCKS = 60
LONG = {"tokens": 1000 * NUM_BLOCKS, "trainers": [SLOWEST, *TRAINERS[2:]]}
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


def test_two_lanes_stopped_resumed_moved_and_resumed_again_it_ends_as_if_nothing_had_been(
    tmp_path: Path, gpt2_folder: str, corpus_folder: str
) -> None:
    whole = make_job(tmp_path / "whole", gpt2_folder, corpus_folder, stream__lanes=2, **LONG)
    expected = run(whole)
    parts = make_job(tmp_path / "parts", gpt2_folder, corpus_folder, stream__lanes=2, **LONG)
    first = stopped_at(parts, run(parts, meanwhile=when_block(5, stop)))
    two_producers = parts.producers.model_copy(update={"count": 2})
    parts = parts.model_copy(update={"producers": two_producers})
    second = stopped_at(parts, run(parts, resume=True, meanwhile=when_block(first + 1, stop)))
    assert 5 <= first < second < NUM_BLOCKS

    elsewhere = tmp_path / "elsewhere" / "copied"  # where no registry knows of it
    elsewhere.parent.mkdir()
    Path(parts.output).rename(elsewhere)
    moved = parts.model_copy(update={"output": str(elsewhere)})
    assert same_end(run(moved, resume=True), expected)
    assert weights(moved) == weights(whole)


def test_a_trainer_that_is_killed_while_the_job_stops_saves_all_the_same(
    tmp_path: Path, gpt2_folder: str, corpus_folder: str
) -> None:
    job = make_job(tmp_path, gpt2_folder, corpus_folder, **LONG)

    def stop_and_kill(registry: Registry) -> None:
        stop(registry)
        kill("trainer-relu")(registry)

    stopped_at(job, run(job, meanwhile=when_block(5, stop_and_kill)))
