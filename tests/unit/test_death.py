from pathlib import Path

import pytest
from ray.core.generated.common_pb2 import ActorDiedErrorContext, NodeDeathInfo
from ray.exceptions import ActorDiedError, ActorUnschedulableError, OutOfMemoryError, RayTaskError

from cluster.block_reader import LogGone
from cluster.death import as_kernel_says, death_of
from cluster.oom_kills import OomKills
from cluster.restart_policy import Cause
from shared.errors import CheckpointError, JobFailed, RegistryError, SchemaError, StaleToken, UserError

RAY_ON_SIGKILL = (
    "The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR Worker exit detail: Worker "
    "unexpectedly exits with a connection error code 2. End of file. Some common causes include: (1) the process was "
    "killed by the OOM killer due to high memory usage, (2) ray stop --force was called, or (3) the worker crashed "
    "unexpectedly due to SIGSEGV or another unexpected error."
)
"""Word for word what Ray 2.60 says of an actor whose process got SIGKILL."""


def raised(cause: Exception) -> Exception:
    """`cause` as Ray raises it where a method of an actor raised it."""
    return RayTaskError("run", "Traceback …", cause).as_instanceof_cause()


@pytest.mark.parametrize("kind", [UserError, JobFailed, SchemaError, CheckpointError])
def test_our_own_sentence_ends_the_job_word_for_word(kind: type[Exception]) -> None:
    death = death_of(raised(kind("unit 17: 3 rows are not finite")))
    assert (death.cause, death.reason) == (Cause.USER_ERROR, "unit 17: 3 rows are not finite")


def test_reader_behind_its_log_is_told_from_other_errors() -> None:
    death = death_of(raised(LogGone("block 3 of 7")))
    assert death.cause is Cause.LOG_GONE and "block 3 of 7" in death.reason


@pytest.mark.parametrize("error", [StaleToken("lane-0 token 3 is stale"), RegistryError("it refuses")])
def test_other_errors_of_ours_may_pass_by_themselves(error: Exception) -> None:
    assert death_of(raised(error)).cause is Cause.RAISED


def test_a_machine_that_goes_away_is_no_fault_of_what_was_worked_at() -> None:
    gone = death_of(died("The actor died because its node has died."))
    assert gone.cause is Cause.NODE_LOST and not gone.blames_its_work
    assert death_of(died(RAY_ON_SIGKILL)).blames_its_work


def test_foreign_error_is_one_line() -> None:
    death = death_of(raised(ZeroDivisionError("by nought\nand more\n")))
    assert (death.cause, death.reason) == (Cause.RAISED, "failed with ZeroDivisionError: by nought")


def died(message: str) -> ActorDiedError:
    return ActorDiedError(ActorDiedErrorContext(error_message=message, class_name="A", actor_id=bytes(16)))


def test_process_that_was_killed_is_not_said_to_lack_memory() -> None:
    death = death_of(died(RAY_ON_SIGKILL))
    assert (death.cause, death.reason) == (Cause.DIED, "died (its process was killed or crashed)")


def test_what_the_driver_ended_says_so() -> None:
    death = death_of(died("The actor is dead because it was killed by `ray.kill`."))
    assert (death.cause, death.reason) == (Cause.DIED, "died (ended by its driver)")


def test_node_that_went_away_is_named() -> None:
    death = death_of(died("The actor died because its node has died."))
    assert (death.cause, death.reason) == (Cause.NODE_LOST, "died (its node went away)")


def test_actor_that_could_not_be_made_says_why() -> None:
    made = RayTaskError("__init__", "Traceback …\nValueError: no good\nsecond line", ValueError("no good"))
    death = death_of(ActorDiedError(made))
    assert (death.cause, death.reason) == (Cause.DIED, "died (it could not be made: ValueError: no good)")


def test_our_own_sentence_counts_also_where_the_actor_could_not_be_made() -> None:
    text = "Traceback …\nshared.errors.CheckpointError: weights are damaged"
    death = death_of(ActorDiedError(RayTaskError("__init__", text, CheckpointError("weights are damaged"))))
    assert (death.cause, death.reason) == (Cause.USER_ERROR, "weights are damaged")


def test_process_killed_for_memory_says_so() -> None:
    death = death_of(OutOfMemoryError("Task was killed due to the node running low on memory"))
    assert death.cause is Cause.OUT_OF_MEMORY and "out of memory" in death.reason


def test_process_that_the_kernel_killed_for_memory_says_so_and_no_other(tmp_path: Path) -> None:
    vmstat = tmp_path / "vmstat"
    vmstat.write_text("nr_free_pages 7\noom_kill 3\nballoon_inflate 0\n")
    kills = OomKills(vmstat)
    killed, ended = death_of(died(RAY_ON_SIGKILL)), death_of(died("it was killed by `ray.kill`"))
    assert as_kernel_says(killed, kills.were_just_now(10.0)) is killed
    vmstat.write_text("nr_free_pages 7\noom_kill 4\nballoon_inflate 0\n")
    kills.look(20.0)
    assert as_kernel_says(killed, kills.were_just_now(21.0)).cause is Cause.OUT_OF_MEMORY
    assert as_kernel_says(ended, kills.were_just_now(21.0)) is ended
    assert not kills.were_just_now(60.0) and not OomKills(tmp_path / "none").were_just_now(0.0)


def test_node_that_was_taken_back_is_told_from_a_crash() -> None:
    context = ActorDiedErrorContext(error_message="The actor died because its node has died.", actor_id=bytes(16))
    context.node_death_info.reason = NodeDeathInfo.AUTOSCALER_DRAIN_PREEMPTED
    death = death_of(ActorDiedError(context))
    assert (death.cause, death.reason) == (Cause.NODE_LOST, "died (its node was taken back)")


def test_actor_that_fits_nowhere_ends_the_job() -> None:
    assert death_of(ActorUnschedulableError("no node has 9 GPUs")).cause is Cause.USER_ERROR
