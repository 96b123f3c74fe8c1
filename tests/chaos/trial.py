"""Real faults in one real job, and what came of them: Ray, Redis and all processes as a user has them."""

import os
import re
import signal
import threading
import time
from dataclasses import dataclass

from cluster.controller import Outcome
from shared.config import Job
from shared.job_state import JobState
from shared.registry_snapshot import Snapshot
from tests.chaos.driver_trial import try_drivers
from tests.chaos.fault import Fault, Trial
from tests.chaos.witness import Witness
from tests.integration.scenario import run, weights

LIMIT_S = 1800.0
"""A job that has not ended by then has not survived."""
WAS_REPLACED = re.compile(r"; (?:.* \d+\.\d s later|begun again|the job goes on without it)$")
LOG_GONE = "needs what its lane no longer holds"


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


def try_faults(faults: list[Fault], job: Job, expected: Undisturbed) -> list[Trial]:
    """Runs `job` through `faults`, all or none of the driver's; a job whose driver dies is resumed."""
    begun, trials = time.monotonic(), [Trial(fault) for fault in faults]
    guard = threading.Timer(LIMIT_S, _give_up)
    guard.daemon = True
    try:
        if faults[0].role == "driver":
            snapshot, imbalances = try_drivers(trials, job)
        else:
            guard.start()
            seen = run(job, meanwhile=Witness(trials).look)
            snapshot, imbalances = seen.snapshot, seen.imbalances + replaced_for_nothing(seen.events, trials)
        _judge(trials, job, snapshot, imbalances, expected)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        for trial in trials:
            trial.words.append(f"{type(error).__name__}: {error}")
    finally:
        guard.cancel()
    for trial in trials:
        trial.wall_s = time.monotonic() - begun
    return trials


def replaced_for_nothing(events: list[str], trials: list[Trial]) -> list[str]:
    """Who was replaced although nothing was done to it, but for those who need what a log no longer holds."""
    struck = {trial.target for trial in trials}
    replaced = [message for message in events if WAS_REPLACED.search(message) and LOG_GONE not in message]
    return [f"nothing was done to it: {message}" for message in replaced if message.partition(" ")[0] not in struck]


def _judge(trials: list[Trial], job: Job, snapshot: Snapshot, imbalances: list[str], expected: Undisturbed) -> None:
    """All faults of a job are survived, or none; one that was slow must not have been replaced."""
    trainers = snapshot.trainers.values()
    wrong = [f"state {snapshot.job.state}"] if snapshot.job.state is not JobState.FINISHED else []
    if {(one.address_digest, one.bits_digest) for one in trainers} != expected.digests:
        wrong.append("other rows, or in another order")
    if weights(job) != expected.weights:
        wrong.append("other weights")
    for trial in trials:
        trial.rows_lost = expected.rows - min(one.rows for one in trainers)
        own = ["was replaced though it was only slow"] if trial.fault.kind == "slow" and trial.detection_s else []
        trial.words += wrong + own + imbalances[:3]
        trial.is_survived = not wrong and not own and not imbalances


def _give_up() -> None:
    """Ends the run in this process as a user would: stop, and then stop at once."""
    for _ in range(2):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1.0)
