import pytest

from cluster.restart_policy import FIRST_WAIT_S, LONGEST_WAIT_S, MAX_DEATHS, Cause, RestartDecision, Step, decide

RECOVERABLE = [Cause.DIED, Cause.HUNG, Cause.RAISED]


@pytest.mark.parametrize("cause", RECOVERABLE)
def test_first_death_is_made_good_at_once(cause: Cause) -> None:
    assert decide(cause, 1) == RestartDecision(Step.REPLACE, 0.0)


@pytest.mark.parametrize("cause", RECOVERABLE)
def test_waits_double_up_to_a_bound(cause: Cause) -> None:
    waits = [decide(cause, deaths).wait_s for deaths in range(2, MAX_DEATHS + 1)]
    assert waits == [min(LONGEST_WAIT_S, FIRST_WAIT_S * 2**step) for step in range(len(waits))]


@pytest.mark.parametrize("cause", list(Cause))
def test_one_death_too_many_fails_the_job(cause: Cause) -> None:
    assert decide(cause, MAX_DEATHS + 1).step is Step.FAIL


def test_what_the_user_must_mend_is_not_tried_again() -> None:
    assert decide(Cause.USER_ERROR, 1).step is Step.FAIL


def test_reader_whose_blocks_are_gone_takes_all_back() -> None:
    assert decide(Cause.LOG_GONE, 1) == RestartDecision(Step.REWIND, 0.0)
