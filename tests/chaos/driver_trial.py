"""Faults of a job's driver, which has a process and a Ray of its own here; then `resume`, for as long as it takes."""

import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from shared.config import Job
from shared.job_file import dump_job
from shared.job_state import JobState
from shared.ledger import ledger
from shared.registry import Registry
from shared.registry_place import open_registry
from shared.registry_snapshot import Snapshot
from tests.chaos.fault import Trial
from tests.chaos.progress import Progress

LIMIT_S = 1800.0
"""Of a fault, until the job has ended or the next one comes."""
POLL_S = 0.05
RETRY_S = 2.0


def try_drivers(trials: list[Trial], job: Job) -> tuple[Snapshot, list[str]]:
    """One fault after another; the job at its end, and what did not balance then."""
    folder = Path(job.output)
    folder.parent.mkdir(parents=True, exist_ok=True)
    job_file = folder.parent / "job.yaml"
    job_file.write_text(dump_job(job))
    with open_registry(job.registry, folder.parent) as client, ExitStack() as stack:
        registry = Registry(client, job.name)
        driver = _Driver(registry, folder, stack)
        driver.start("run", str(job_file))
        for trial in trials:
            if not driver.await_block(trial.fault.block):
                break
            driver.strike(trial)
        driver.await_end()
        snapshot = registry.snapshot()
        return snapshot, ledger(snapshot).imbalances()


class _Driver:
    """Whoever drives the job now: who began it, and then who resumed it."""

    def __init__(self, registry: Registry, folder: Path, stack: ExitStack) -> None:
        self._registry, self._folder, self._stack = registry, folder, stack
        self._progress = Progress()
        self._rows: dict[str, int] = {}
        """Trainer -> what it had read at the newest look."""
        self._since_s = time.monotonic()

    def start(self, *words: str) -> None:
        """`headrace …` in a session of its own; dead when the stack is closed."""
        command = [sys.executable, "-m", "cluster", *words]
        quiet = subprocess.DEVNULL
        self._process = subprocess.Popen(command, stdout=quiet, stderr=quiet, start_new_session=True)
        self._stack.callback(self._process.wait)
        self._stack.callback(self._process.kill)

    def await_block(self, block: int) -> bool:
        """False if the job ended before."""
        self._since_s = time.monotonic()
        while self._process.poll() is None:
            snapshot = self._look()
            if snapshot and snapshot.trainers and min(one.cursor for one in snapshot.trainers.values()) >= block:
                return True
        return False

    def strike(self, trial: Trial) -> None:
        """Does it, and comes back when the job runs again, or has ended."""
        before = dict(self._rows)
        trial.fault.strike(self._process.pid)
        self._since_s, trial.is_tried = time.monotonic(), True
        if trial.fault.kind == "slow":
            while time.monotonic() - self._since_s < trial.fault.lasts_s and self._process.poll() is None:
                self._look()
        else:
            self._resume(trial)
            trial.rows_repeated = sum(max(0, rows - self._rows.get(name, rows)) for name, rows in before.items())
        trial.dip = self._progress.dip(self._since_s, time.monotonic())

    def await_end(self) -> None:
        while self._process.poll() is None:
            self._look()
            self._check_patience()

    def _resume(self, trial: Trial) -> None:
        """Types it until it is taken; the older driver counts as alive for a while."""
        while self._registry.job_state() is not JobState.FINISHED:
            self.start("resume", str(self._folder))
            while self._process.poll() is None:
                self._see(trial, self._look())
                if trial.recovery_s is not None:
                    return
            self._check_patience()
            time.sleep(RETRY_S)

    def _see(self, trial: Trial, snapshot: Snapshot | None) -> None:
        since_s = time.monotonic() - self._since_s
        if snapshot is None:
            return
        if trial.detection_s is None:
            trial.detection_s = since_s if snapshot.job.state is JobState.STARTING else None
        elif snapshot.job.state is JobState.RUNNING and any(
            role.startswith("trainer-") for role in snapshot.heartbeats
        ):
            trial.recovery_s = since_s

    def _look(self) -> Snapshot | None:
        time.sleep(POLL_S)
        if self._registry.job_state() is None:
            return None
        snapshot = self._registry.snapshot()
        self._progress.saw(time.monotonic(), snapshot)
        self._rows = {name: one.rows for name, one in snapshot.trainers.items()}
        return snapshot

    def _check_patience(self) -> None:
        if time.monotonic() - self._since_s > LIMIT_S:
            raise AssertionError("the job does not end")
