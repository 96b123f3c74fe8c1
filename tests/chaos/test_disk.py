"""Full disks: the job goes on, says so, and ends with the weights of one that had room."""

import os
import signal
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from cluster import checkpoints
from cluster.checkpoints import read_checkpoint
from cluster.controller import Outcome
from cluster.metrics_store import read_metrics
from shared.job_state import JobState
from shared.registry import Registry
from shared.registry_snapshot import Snapshot
from tests.chaos import trial
from tests.chaos.trial import Undisturbed
from tests.integration.scenario import make_job, pid_of, run, weights
from tests.small_disk import Mount, SmallDisk

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("own_ray")]
TRAINERS = [{"name": "topk-64", "architecture": "topk", "num_latents": 64, "k": 8, "batch_rows": 16}]
SHORT = {"trainers": TRAINERS, "tokens": 120_000, "checkpoint__every_blocks": 5}
"""120 blocks, 24 checkpoints."""
HELD_MS = 4000


@pytest.fixture(scope="module")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory, own_ray: None, gpt2_folder: str, corpus_folder: str
) -> Undisturbed:
    return trial.undisturbed(make_job(tmp_path_factory.mktemp("undisturbed"), gpt2_folder, corpus_folder, **SHORT))


class FullDisk:
    """Fills `disk` once a checkpoint is complete, until the trainer has passed two barriers more and the job says so.

    While the job is to say something the trainer is held, so that the stream does not come to its end before.
    """

    def __init__(self, disk: SmallDisk, run_folder: Path, trainer: str) -> None:
        self._disk, self._run_folder, self._trainer = disk, run_folder, trainer
        self.kept: int | None = None
        """The checkpoint that was there all the time."""
        self.is_over = False
        self._story = self._tell()
        next(self._story)

    def look(self, registry: Registry, snapshot: Snapshot) -> bool:
        self._story.send(snapshot)
        return self.is_over

    def _tell(self) -> Generator[None, Snapshot, None]:
        snapshot = yield
        while not checkpoints.newest_block(self._run_folder):
            snapshot = yield
        filled_at = snapshot.trainers[self._trainer].cursor
        while snapshot.trainers[self._trainer].cursor < filled_at + 11:
            self._disk.fill()  # again and again: who was just writing gives up and leaves room for the next
            snapshot = yield
        yield from self._held(lambda now: now.job.state is JobState.DEGRADED and "is full" in now.job.message)
        newest = checkpoints.newest(self._run_folder)
        assert newest is not None and read_checkpoint(newest.folder) == newest
        self.kept = newest.block
        self._disk.empty()
        while snapshot.trainers[self._trainer].trouble:
            snapshot = yield
        yield from self._held(lambda now: now.job.state is JobState.RUNNING)
        self.is_over = True
        yield

    def _held(self, is_said: Callable[[Snapshot], bool]) -> Generator[None, Snapshot, None]:
        """Stops the trainer until it is, but for a moment every few seconds.

        Else it would count as hung, and lanes that have yet to save would wait for it.
        """
        now = yield
        while not is_said(now):
            pid, since_ms = pid_of(f"trainer-{self._trainer}"), now.time_ms
            os.kill(pid, signal.SIGSTOP)
            while not is_said(now) and now.time_ms - since_ms < HELD_MS:
                now = yield
            os.kill(pid, signal.SIGCONT)
            now = yield


def test_full_disk_costs_checkpoints_and_no_rows(
    mount: Mount, tmp_path: Path, gpt2_folder: str, corpus_folder: str, undisturbed: Undisturbed
) -> None:
    disk = mount(tmp_path / "run", 64)
    job = make_job(tmp_path, gpt2_folder, corpus_folder, **SHORT, stream__spool_bytes="16MiB")
    witness = FullDisk(disk, tmp_path / "run", "topk-64")
    seen = run(job, meanwhile=witness.look)
    assert witness.is_over and seen.outcome is Outcome.FINISHED and seen.imbalances == []
    assert any("no room for checkpoint" in message for message in seen.events), seen.events
    assert any("nothing is in the way" in message for message in seen.events), seen.events
    newest = checkpoints.newest(tmp_path / "run")
    assert newest is not None and witness.kept is not None and newest.block > witness.kept
    assert weights(job) == undisturbed.weights
    assert read_metrics(tmp_path / "run").num_rows > 0
    assert not any("died" in message for message in seen.events)


def test_disk_of_the_registry_too_may_be_full_for_a_while(
    mount: Mount, tmp_path: Path, gpt2_folder: str, corpus_folder: str, undisturbed: Undisturbed
) -> None:
    disk = mount(tmp_path / "runs", 64)
    job = make_job(tmp_path / "runs", gpt2_folder, corpus_folder, **SHORT)
    seen_at: list[int] = []

    def meanwhile(registry: Registry, snapshot: Snapshot) -> bool:
        if not seen_at and checkpoints.newest_block(tmp_path / "runs" / "run"):
            disk.fill()
            seen_at.append(snapshot.time_ms)
        elif seen_at and snapshot.time_ms - seen_at[0] > 5000:
            disk.empty()
            return True
        return False

    seen = run(job, meanwhile=meanwhile)
    assert seen_at and seen.outcome is Outcome.FINISHED and seen.imbalances == []
    assert weights(job) == undisturbed.weights
    assert not any("died" in message for message in seen.events), seen.events
