"""The states of a job and the one table of what may follow what."""

from enum import StrEnum


class JobState(StrEnum):
    """queued → starting → running ⇄ degraded → draining → stopped, failed or finished."""

    QUEUED = "queued"
    STARTING = "starting"
    RUNNING = "running"
    DEGRADED = "degraded"
    DRAINING = "draining"
    STOPPED = "stopped"
    FAILED = "failed"
    FINISHED = "finished"

    @property
    def is_terminal(self) -> bool:
        """No driver acts in this state."""
        return self in TERMINAL


TERMINAL = frozenset({JobState.STOPPED, JobState.FAILED, JobState.FINISHED})

TRANSITIONS: dict[JobState, frozenset[JobState]] = {
    JobState.QUEUED: frozenset({JobState.STARTING, JobState.STOPPED, JobState.FAILED}),
    JobState.STARTING: frozenset({JobState.RUNNING, JobState.DEGRADED, JobState.DRAINING, *TERMINAL}),
    JobState.RUNNING: frozenset({JobState.DEGRADED, JobState.DRAINING, *TERMINAL}),
    JobState.DEGRADED: frozenset({JobState.RUNNING, JobState.DRAINING, *TERMINAL}),
    JobState.DRAINING: TERMINAL,
    JobState.STOPPED: frozenset({JobState.STARTING}),
    JobState.FAILED: frozenset({JobState.STARTING}),
    JobState.FINISHED: frozenset(),
}
"""What a driver may make of each state. Claiming a job leads to starting from any state but finished.

Who is running may find the job starting: a Redis whose machine failed has lost its last second.
"""


def sources(state: JobState) -> tuple[JobState, ...]:
    """The states from which `state` may be entered; staying counts, so that a repeated call is harmless."""
    return tuple(before for before in JobState if before == state or state in TRANSITIONS[before])
