"""Files that are damaged while a job runs, or while it lies: named, passed over, and the weights are the same."""

from pathlib import Path

import pytest

from cluster import checkpoints
from cluster.controller import Outcome
from shared.config import Job
from shared.registry_snapshot import Snapshot
from tests.chaos import trial
from tests.chaos.trial import Undisturbed
from tests.integration.scenario import TRAINERS, Seen, held_until, make_job, run, stop, weights, when_block

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("own_ray")]
SLOW = {"name": "topk-slow", "architecture": "topk", "num_latents": 512, "k": 8, "batch_rows": 16}
SHORT = {"trainers": [SLOW, TRAINERS[2]]}


@pytest.fixture(scope="module")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory, own_ray: None, gpt2_folder: str, corpus_folder: str
) -> Undisturbed:
    return trial.undisturbed(make_job(tmp_path_factory.mktemp("undisturbed"), gpt2_folder, corpus_folder, **SHORT))


def damage(path: Path) -> None:
    """Turns one bit in the middle of a file."""
    contents = bytearray(path.read_bytes())
    contents[len(contents) // 2] ^= 1
    path.write_bytes(contents)


def ended_as(seen: Seen, job: Job, undisturbed: Undisturbed) -> bool:
    """Whether it ended with the rows and weights of the one that nothing happened to."""
    same = seen.digests == undisturbed.digests and weights(job) == undisturbed.weights
    return same and seen.outcome is Outcome.FINISHED and seen.imbalances == []


def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(
    tmp_path: Path, gpt2_folder: str, corpus_folder: str, undisturbed: Undisturbed
) -> None:
    job = make_job(tmp_path, gpt2_folder, corpus_folder, **SHORT)
    assert run(job, meanwhile=when_block(12, stop)).outcome is Outcome.STOPPED
    newest = checkpoints.newest(tmp_path / "run")
    assert newest is not None and newest.block > 10
    part = newest.part("trainer-relu")
    largest = max(part.iterdir(), key=lambda path: path.stat().st_size)
    damage(largest)
    seen = run(job, resume=True)
    named = [one for one in seen.events if largest.name in one]
    assert named and str(newest.block) in named[0], seen.events
    assert ended_as(seen, job, undisturbed)


@pytest.mark.parametrize("lag_policy", ["block", "detach"])
def test_a_damaged_file_of_the_spool_is_made_again_whoever_reads_it(
    lag_policy: str, tmp_path: Path, gpt2_folder: str, corpus_folder: str, undisturbed: Undisturbed
) -> None:
    trainers = [{**SLOW, "lag_policy": lag_policy}, TRAINERS[2]]
    job = make_job(tmp_path, gpt2_folder, corpus_folder, trainers=trainers, stream__spool_bytes="64MiB")
    damaged: list[Path] = []

    def is_damaged(snapshot: Snapshot) -> bool:
        cursor = snapshot.trainers["topk-slow"].cursor
        files = {int(path.stem): path for path in (tmp_path / "run" / "spool").glob("lane-0@*/*.arrow")}
        unread = [number for number in files if number > cursor + 4]  # beyond what it has fetched ahead
        if unread:
            damaged.append(files[min(unread)])
            damage(damaged[0])
        return bool(unread)

    seen = run(job, meanwhile=held_until("trainer-topk-slow", is_damaged))
    assert damaged and any("all went back" in one and f"block {damaged[0].stem} " in one for one in seen.events), (
        seen.events
    )
    assert ended_as(seen, job, undisturbed)
