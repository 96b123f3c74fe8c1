"""Each death is made good in its time, and no other waits for it."""

import pytest

from cluster.death import Death
from cluster.deaths import Deaths
from cluster.restart_policy import FIRST_WAIT_S, FORGIVEN_S, LONGEST_WAIT_S, Budget, Cause, Step
from shared.errors import JobFailed, Unreadable

MAX_DEATHS = Budget.CRASHES.most
KILLED = Death(Cause.DIED, "died (its process was killed or crashed)")


def roles_due(deaths: Deaths, now_s: float) -> list[str]:
    return [one.role for one in deaths.take_due(now_s)]


def test_the_first_death_is_made_good_at_once_and_once() -> None:
    deaths = Deaths()
    deaths.add("lane-0", KILLED, 100.0)
    assert roles_due(deaths, 100.0) == ["lane-0"]
    assert roles_due(deaths, 900.0) == []


def test_a_role_that_dies_again_and_again_waits_and_the_others_do_not() -> None:
    deaths = Deaths()
    for now_s in (100.0, 101.0):
        deaths.add("trainer-a", KILLED, now_s)
        deaths.take_due(now_s)
    deaths.add("lane-0", KILLED, 101.1)
    assert roles_due(deaths, 101.1) == ["lane-0"]
    assert roles_due(deaths, 101.0 + FIRST_WAIT_S) == ["trainer-a"]


def test_a_role_that_lived_for_long_begins_its_count_anew() -> None:
    deaths = Deaths()
    for number in range(2 * MAX_DEATHS):
        now_s = number * (FORGIVEN_S + 1)
        deaths.add("trainer-a", KILLED, now_s)
        assert roles_due(deaths, now_s) == ["trainer-a"]


def test_one_death_too_many_fails_the_job_and_says_whose() -> None:
    deaths = Deaths()
    for number in range(MAX_DEATHS):
        deaths.add("trainer-a", KILLED, number)
    with pytest.raises(JobFailed, match=r"trainer-a died \(its process was killed or crashed\), too often"):
        deaths.add("trainer-a", KILLED, MAX_DEATHS)


def test_what_the_user_must_mend_fails_the_job_in_its_own_words() -> None:
    with pytest.raises(JobFailed, match=r"^the corpus has changed$"):
        Deaths().add("producer-0", Death(Cause.USER_ERROR, "the corpus has changed"), 0.0)


def test_nobody_is_replaced_twice_when_all_are_started_anew() -> None:
    deaths = Deaths()
    deaths.add("trainer-a", Death(Cause.LOG_GONE, "needs what its lane no longer holds"), 5.0)
    deaths.add("lane-0", KILLED, 5.0)
    assert [one.step for one in deaths.take_due(5.0)] == [Step.REWIND, Step.REPLACE]
    deaths.add("lane-0", KILLED, 6.0)
    deaths.all_are_replaced()
    assert roles_due(deaths, 900.0) == []


def test_each_kind_of_death_has_a_budget_of_its_own() -> None:
    deaths = Deaths()
    taken_back = Death(Cause.NODE_LOST, "died (its node was taken back)")
    no_memory = Death(Cause.OUT_OF_MEMORY, "was killed because the machine ran out of memory")
    for number in range(Budget.PREEMPTIONS.most):
        deaths.add("trainer-a", taken_back, number)
    for number in range(MAX_DEATHS):
        deaths.add("trainer-a", KILLED, number)
    for number in range(Budget.MEMORY.most):
        deaths.add("trainer-a", no_memory, number)
    with pytest.raises(JobFailed, match="trainer-a was killed because the machine ran out of memory, too often"):
        deaths.add("trainer-a", no_memory, MAX_DEATHS)
    deaths.add("trainer-b", no_memory, MAX_DEATHS)


def test_a_replacement_that_cannot_read_what_it_goes_on_from_is_tried_again_for_some_time() -> None:
    deaths, now_s, error = Deaths(), 100.0, Unreadable("40/trainer-a@7/part.json cannot be read: Stale file handle")
    deaths.add("trainer-a", KILLED, now_s)
    (dead,) = deaths.take_due(now_s)
    for _ in range(Budget.ERRORS.most):
        deaths.put_off(dead, error, now_s)
        now_s += LONGEST_WAIT_S
        (dead,) = deaths.take_due(now_s)
    assert dead.death.reason == f"{KILLED.reason}; {error}"
    with pytest.raises(JobFailed, match=r"trainer-a died .*; 40/.*/part\.json cannot be read: .*, too often"):
        deaths.put_off(dead, error, now_s)
