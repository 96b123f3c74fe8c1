"""Why an actor ended, in few words, from the exception that its `run` reference raises."""

import re
from dataclasses import dataclass

from ray.exceptions import ActorUnschedulableError, OutOfMemoryError, RayActorError

from cluster.block_reader import LogGone
from cluster.restart_policy import Cause
from shared.errors import CheckpointError, HeadraceError, JobFailed, SchemaError, UserError

OWN_SENTENCE = re.compile(r"^shared\.errors\.(?:UserError|JobFailed|SchemaError|CheckpointError): (.*)$", re.MULTILINE)
"""Of an error while the actor was made, Ray keeps the text alone."""


@dataclass(frozen=True)
class Death:
    cause: Cause
    reason: str
    """Continues the sentence `producer-1 …`."""

    @property
    def blames_its_work(self) -> bool:
        """Whether what it worked at may have killed it: not where its machine went away."""
        return self.cause is not Cause.NODE_LOST


OUT_OF_MEMORY = Death(Cause.OUT_OF_MEMORY, "was killed because the machine ran out of memory")
CRASHED = "its process was killed or crashed"
NODE_GONE = "its node went away"


def death_of(error: BaseException) -> Death:
    """The death that `error`, raised by the reference of an actor's `run`, tells of."""
    cause = getattr(error, "cause", None) or error
    if isinstance(cause, LogGone):
        return Death(Cause.LOG_GONE, f"needs what its lane no longer holds ({cause})")
    if isinstance(cause, (UserError, JobFailed, SchemaError, CheckpointError)):
        return Death(Cause.USER_ERROR, str(cause))
    if isinstance(error, OutOfMemoryError):
        return OUT_OF_MEMORY
    if isinstance(error, ActorUnschedulableError):
        return Death(Cause.USER_ERROR, f"cannot be placed: {error}")
    if isinstance(error, RayActorError) and (made := OWN_SENTENCE.search(str(error))):
        return Death(Cause.USER_ERROR, made[1])
    if isinstance(error, RayActorError):
        return _death_of_process(error)
    if isinstance(cause, HeadraceError):
        return Death(Cause.RAISED, f"ended: {cause}")
    return Death(Cause.RAISED, f"failed with {type(cause).__name__}: {_first_line(str(cause))}")


def as_kernel_says(death: Death, kills_for_memory: bool) -> Death:
    """A death, of which more is known where the kernel has just killed somebody for want of memory."""
    return OUT_OF_MEMORY if kills_for_memory and CRASHED in death.reason else death


def _death_of_process(error: RayActorError) -> Death:
    if error.preempted:
        return Death(Cause.NODE_LOST, "died (its node was taken back)")
    words = _exit_words(str(error))
    return Death(Cause.NODE_LOST if words == NODE_GONE else Cause.DIED, f"died ({words})")


def _exit_words(text: str) -> str:
    """What Ray's paragraph says of the exit, shortened to what a person can use.

    Of a process that is gone it names out-of-memory among the things that happen, whatever has happened.
    """
    for mark, words in (
        ("creation task", "it could not be made: " + _error_line(text)),
        ("ray.kill", "ended by its driver"),
        ("node has died", NODE_GONE),
        ("node died", NODE_GONE),
        ("unexpectedly", CRASHED),
    ):
        if mark in text:
            return words
    return "its process ended"


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0]


def _error_line(text: str) -> str:
    """The line of a traceback that names the error."""
    found = re.findall(r"^[\w.]+: .*$", text, re.MULTILINE)
    return found[-1] if found else text.strip().rpartition("\n")[2]
