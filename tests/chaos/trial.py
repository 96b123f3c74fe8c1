"""One real fault in one real job, and what came of it: Ray, Redis and all processes as a user has them."""

import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from cluster.controller import Outcome
from shared.config import Job
from shared.job_file import dump_job
from shared.job_state import JobState
from shared.ledger import ledger
from shared.registry import Registry
from shared.registry_place import open_registry
from shared.registry_snapshot import Snapshot
from tests.integration.scenario import pid_of, run, weights

LIMIT_S = 900.0
"""A job that has not ended by then has not survived."""
LATER = re.compile(r"; .* (\d+\.\d) s later$")
RETRY_S = 2.0
RETRIES = 60


@dataclass(frozen=True)
class Fault:
    """What is done, to whom, and when."""

    role: str
    """producer, lane, trainer, redis, driver; of several, which one is drawn from `block`."""
    kind: str
    """kill: SIGKILL. hang: SIGSTOP, and SIGCONT after `hang_s`."""
    block: int
    """As soon as every trainer has read so many blocks."""
    hang_s: float = 60.0

    def __str__(self) -> str:
        return f"{self.role} {self.kind} at block {self.block}"


@dataclass
class Trial:
    """What came of a fault; times in seconds since it."""

    fault: Fault
    is_tried: bool = False
    is_survived: bool = False
    detection_s: float | None = None
    """Until the driver, or whoever waits for it, knew."""
    recovery_s: float | None = None
    """Until whoever took the place was heard."""
    rows_lost: int | None = None
    rows_repeated: int = 0
    """Produced, mixed or read again, each once for each part that did."""
    words: list[str] = field(default_factory=list)
    wall_s: float = 0.0


@dataclass(frozen=True)
class Undisturbed:
    """The end of the same job without a fault."""

    weights: dict[str, bytes]
    digests: set[tuple[str, str]]
    rows: int


def undisturbed(job: Job) -> Undisturbed:
    """Runs it."""
    seen = run(job)
    assert seen.outcome is Outcome.FINISHED and seen.imbalances == []
    return Undisturbed(weights(job), seen.digests, min(one.rows for one in seen.snapshot.trainers.values()))


def try_fault(fault: Fault, job: Job, expected: Undisturbed) -> Trial:
    """Runs `job` through `fault`; a job whose driver dies is resumed."""
    begun, trial = time.monotonic(), Trial(fault)
    guard = threading.Timer(LIMIT_S, _give_up)
    guard.daemon = True
    try:
        if fault.role == "driver":
            snapshot, imbalances = _try_driver(trial, job)
        else:
            guard.start()
            witness = Witness(trial)
            seen = run(job, meanwhile=witness.look)
            snapshot, imbalances = seen.snapshot, seen.imbalances
            trial.words += [message for message in seen.events if LATER.search(message)]
        _judge(trial, job, snapshot, imbalances, expected)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        trial.words.append(f"{type(error).__name__}: {error}")
    finally:
        guard.cancel()
    trial.wall_s = time.monotonic() - begun
    return trial


def _judge(trial: Trial, job: Job, snapshot: Snapshot, imbalances: list[str], expected: Undisturbed) -> None:
    trainers = snapshot.trainers.values()
    trial.rows_lost = expected.rows - min(one.rows for one in trainers)
    wrong = [f"state {snapshot.job.state}"] if snapshot.job.state is not JobState.FINISHED else []
    if {(one.address_digest, one.bits_digest) for one in trainers} != expected.digests:
        wrong.append("other rows, or in another order")
    if weights(job) != expected.weights:
        wrong.append("other weights")
    trial.words += wrong + imbalances[:3]
    trial.is_survived = not wrong and not imbalances


class Witness:
    """Looks at the registry all the time, strikes when the moment has come, and sees what follows."""

    def __init__(self, trial: Trial) -> None:
        self._trial, self._fault = trial, trial.fault
        self._draw = random.Random(trial.fault.block)
        self._struck_s: float | None = None
        self._struck_ms = 0
        self._target = ""
        self._last_event = "-"
        self._before: dict[str, int] = {}

    def look(self, registry: Registry, snapshot: Snapshot) -> bool:
        """Never done: it looks to the end."""
        self._count_repeated(snapshot)
        if self._struck_s is None:
            self._strike_if_due(registry, snapshot)
        elif self._fault.role == "redis":
            self._trial.recovery_s = self._trial.recovery_s or time.monotonic() - self._struck_s
        else:
            self._see_what_follows(registry, snapshot)
        return False

    def _strike_if_due(self, registry: Registry, snapshot: Snapshot) -> None:
        cursors = [one.cursor for one in snapshot.trainers.values()]
        if not cursors or min(cursors) < self._fault.block:
            return
        self._target, pid = self._victim(registry, snapshot)
        if not pid:
            return
        while events := registry.events(self._last_event):
            self._last_event = events[-1].id
        os.kill(pid, signal.SIGKILL if self._fault.kind == "kill" else signal.SIGSTOP)
        self._struck_s, self._struck_ms, self._trial.is_tried = time.monotonic(), snapshot.time_ms, True
        if self._fault.kind == "hang":
            threading.Timer(self._fault.hang_s, _let_go_on, [pid]).start()

    def _victim(self, registry: Registry, snapshot: Snapshot) -> tuple[str, int]:
        if self._fault.role == "redis":
            return "redis", int(registry._client.info("server")["process_id"])  # type: ignore[index]
        role = self._draw.choice(
            [role for role in sorted(snapshot.heartbeats) if role.partition("-")[0] == self._fault.role] or [""]
        )
        with suppress(AssertionError):
            return role, pid_of(role) if role else 0
        return role, 0

    def _see_what_follows(self, registry: Registry, snapshot: Snapshot) -> None:
        trial = self._trial
        for event in registry.events(self._last_event):
            self._last_event = event.id
            if trial.detection_s is None and event.message.startswith(f"{self._target} "):
                later = LATER.search(event.message)
                trial.detection_s = (event.time_ms - self._struck_ms) / 1000 - (float(later[1]) if later else 0.0)
        if trial.detection_s is not None and trial.recovery_s is None and self._target in snapshot.heartbeats:
            assert self._struck_s is not None
            trial.recovery_s = time.monotonic() - self._struck_s

    def _count_repeated(self, snapshot: Snapshot) -> None:
        now = {name: one.rows for name, one in snapshot.trainers.items()}
        now |= {f"lane-{number}": lane.counters.emitted for number, lane in enumerate(snapshot.lanes)}
        self._trial.rows_repeated += sum(max(0, rows - now.get(name, rows)) for name, rows in self._before.items())
        self._before = now


def _let_go_on(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)


def _give_up() -> None:
    """Ends the run in this process as a user would: stop, and then stop at once."""
    for _ in range(2):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1.0)


def _try_driver(trial: Trial, job: Job) -> tuple[Snapshot, list[str]]:
    """The job's driver in a process of its own, killed or frozen; then `resume`, for as long as it takes."""
    fault, folder = trial.fault, Path(job.output)
    folder.parent.mkdir(parents=True, exist_ok=True)
    job_file = folder.parent / "job.yaml"
    job_file.write_text(dump_job(job))
    with open_registry(job.registry, folder.parent) as client:
        registry = Registry(client, job.name)
        driver = _start("run", str(job_file))
        try:
            before = _await_block(registry, fault.block, driver)
            if before is None:
                raise AssertionError(f"the driver ended with {driver.poll()} before its time")
            struck_s, trial.is_tried = time.monotonic(), True
            driver.send_signal(signal.SIGKILL if fault.kind == "kill" else signal.SIGSTOP)
            if fault.kind == "hang":
                threading.Timer(fault.hang_s, _let_go_on, [driver.pid]).start()
            _resume(trial, folder, registry, struck_s)
        finally:
            driver.kill()
            driver.wait()
        snapshot = registry.snapshot()
        return snapshot, ledger(snapshot).imbalances()


def _start(*words: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "cluster", *words]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)


def _await_block(registry: Registry, block: int, driver: subprocess.Popen[bytes]) -> Snapshot | None:
    while driver.poll() is None:
        time.sleep(0.05)
        if registry.job_state() is None:
            continue
        snapshot = registry.snapshot()
        cursors = [one.cursor for one in snapshot.trainers.values()]
        if cursors and min(cursors) >= block:
            return snapshot
    return None


def _resume(trial: Trial, folder: Path, registry: Registry, struck_s: float) -> None:
    """Types `resume` until it is taken; the older driver counts as alive for a while."""
    before = {name: one.rows for name, one in registry.snapshot().trainers.items()}
    for _ in range(RETRIES):
        heir = _start("resume", str(folder))
        while heir.poll() is None:
            time.sleep(0.05)
            trial.recovery_s = trial.recovery_s or _running_again(trial, registry, before, struck_s)
            if time.monotonic() - struck_s > LIMIT_S:
                heir.kill()
                raise AssertionError("the resumed job does not end")
        if heir.returncode == 0 or registry.job_state() is JobState.FINISHED:
            return
        time.sleep(RETRY_S)
    raise AssertionError(f"resume ended with {heir.returncode}, {RETRIES} times")


def _running_again(trial: Trial, registry: Registry, before: dict[str, int], struck_s: float) -> float | None:
    snapshot = registry.snapshot()
    if trial.detection_s is None:
        if snapshot.job.state is JobState.STARTING:
            trial.detection_s = time.monotonic() - struck_s
        return None
    if snapshot.job.state is not JobState.RUNNING or not snapshot.heartbeats:
        return None
    trial.rows_repeated = sum(max(0, rows - snapshot.trainers[name].rows) for name, rows in before.items())
    return time.monotonic() - struck_s
