"""What to do when an actor has died: a pure decision on what died, of what, and how often before."""

from dataclasses import dataclass
from enum import Enum

MAX_DEATHS = 12
"""Of one role, each soon after the one before; one more ends the job. A unit is set aside after fewer."""
FORGIVEN_S = 600.0
"""A role that lived for so long begins its count anew: machines that are taken back now and then end no job."""
FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 30.0


class Step(Enum):
    REPLACE = "replace"
    """A new actor takes the role; a lane and a trainer from their newest state."""
    REWIND = "rewind"
    """All go back to the last complete checkpoint."""
    FAIL = "fail"
    """The job has failed."""


class Cause(Enum):
    DIED = "died"
    """The process is gone."""
    HUNG = "hung"
    """It lives and does not answer."""
    USER_ERROR = "user error"
    """It says itself that what the user asked for cannot be done, or that the data is bad."""
    LOG_GONE = "log gone"
    """A trainer's cursor lies before what its lane still holds."""
    RAISED = "raised"
    """An exception that nobody foresaw."""


@dataclass(frozen=True)
class RestartDecision:
    step: Step
    wait_s: float = 0.0


def decide(cause: Cause, num_deaths: int) -> RestartDecision:
    """What follows on the `num_deaths`-th death of a role."""
    if cause is Cause.USER_ERROR or num_deaths > MAX_DEATHS:
        return RestartDecision(Step.FAIL)
    wait_s = 0.0 if num_deaths == 1 else min(LONGEST_WAIT_S, FIRST_WAIT_S * 2 ** (num_deaths - 2))
    return RestartDecision(Step.REWIND if cause is Cause.LOG_GONE else Step.REPLACE, wait_s)
