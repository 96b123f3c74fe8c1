"""What to do when an actor has died: a pure decision on what died, of what, and how often before."""

from dataclasses import dataclass
from enum import Enum

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
    OUT_OF_MEMORY = "out of memory"
    """Ray or the kernel has killed it because the machine ran out of memory."""
    NODE_LOST = "node lost"
    """Its machine is gone, or was taken back by whoever lent it."""


class Budget(Enum):
    """Each kind of death is counted apart: a machine that is taken back each hour says nothing about a trainer."""

    CRASHES = 12
    """A unit that kills its producer is set aside after fewer."""
    ERRORS = 6
    """The same code on the same rows raises the same again, unless what it met was the fault of a moment."""
    MEMORY = 4
    """It will most likely need as much again."""
    PREEMPTIONS = 100
    USERS = 0
    """Who must mend something is told at once."""

    @property
    def most(self) -> int:
        """Deaths of one role, each soon after the one before; one more ends the job."""
        return int(self.value)


BUDGETS = {
    Cause.DIED: Budget.CRASHES,
    Cause.HUNG: Budget.CRASHES,
    Cause.LOG_GONE: Budget.CRASHES,
    Cause.RAISED: Budget.ERRORS,
    Cause.OUT_OF_MEMORY: Budget.MEMORY,
    Cause.NODE_LOST: Budget.PREEMPTIONS,
    Cause.USER_ERROR: Budget.USERS,
}


@dataclass(frozen=True)
class RestartDecision:
    step: Step
    wait_s: float = 0.0


def decide(cause: Cause, num_deaths: int) -> RestartDecision:
    """What follows on a role's death, the `num_deaths`-th that goes to the budget of `cause`."""
    if num_deaths > BUDGETS[cause].most:
        return RestartDecision(Step.FAIL)
    wait_s = 0.0 if num_deaths == 1 else min(LONGEST_WAIT_S, FIRST_WAIT_S * 2 ** (num_deaths - 2))
    return RestartDecision(Step.REWIND if cause is Cause.LOG_GONE else Step.REPLACE, wait_s)
