import pytest

from cluster.restart_policy import BUDGETS, FIRST_WAIT_S, LONGEST_WAIT_S, Budget, Cause, RestartDecision, Step, decide

RECOVERABLE = [Cause.DIED, Cause.HUNG, Cause.RAISED, Cause.OUT_OF_MEMORY, Cause.NODE_LOST]


@pytest.mark.parametrize("cause", RECOVERABLE)
def test_first_death_is_made_good_at_once(cause: Cause) -> None:
    assert decide(cause, 1) == RestartDecision(Step.REPLACE, 0.0)


@pytest.mark.parametrize("cause", RECOVERABLE)
def test_waits_double_up_to_a_bound(cause: Cause) -> None:
    waits = [decide(cause, deaths).wait_s for deaths in range(2, BUDGETS[cause].most + 1)]
    assert waits == [min(LONGEST_WAIT_S, FIRST_WAIT_S * 2**step) for step in range(len(waits))]


@pytest.mark.parametrize("cause", list(Cause))
def test_one_death_too_many_fails_the_job(cause: Cause) -> None:
    most = BUDGETS[cause].most
    assert decide(cause, most + 1).step is Step.FAIL
    assert most == 0 or decide(cause, most).step is not Step.FAIL


def test_every_cause_has_a_budget_and_what_hits_a_machine_is_forgiven_more_often_than_what_a_role_does() -> None:
    assert set(BUDGETS) == set(Cause)
    sizes = [one.most for one in (Budget.USERS, Budget.MEMORY, Budget.ERRORS, Budget.CRASHES, Budget.PREEMPTIONS)]
    assert sizes == sorted(set(sizes))


def test_what_the_user_must_mend_is_not_tried_again() -> None:
    assert decide(Cause.USER_ERROR, 1).step is Step.FAIL


def test_reader_whose_blocks_are_gone_takes_all_back() -> None:
    assert decide(Cause.LOG_GONE, 1) == RestartDecision(Step.REWIND, 0.0)
