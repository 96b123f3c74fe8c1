"""What the campaign of faults holds against a job."""

import pytest

from tests.chaos.fault import Fault, Trial
from tests.chaos.trial import replaced_for_nothing

STRUCK = [Trial(Fault("producer", "kill", 3), target="producer-1"), Trial(Fault("lane", "hang", 9), target="lane-0")]


@pytest.mark.parametrize(
    "message",
    [
        "trainer-relu died (its process was killed or crashed); back from block 10 0.0 s later",
        "evaluator was silent for 31 s; begun again",
        "evaluator was silent for 31 s; the job goes on without it",
        "producer-0 died (its process ended); it held no unit; back 2.0 s later",
    ],
)
def test_who_was_replaced_although_nothing_was_done_to_it_is_named(message: str) -> None:
    assert replaced_for_nothing(["begins", message], STRUCK) == [f"nothing was done to it: {message}"]


@pytest.mark.parametrize(
    "message",
    [
        "producer-1 died (its process was killed or crashed); units 3 leased again; back 0.0 s later",
        "lane-0 was silent for 31 s; back from block 10 0.1 s later",
        "trainer-relu needs what its lane no longer holds (block 10 is gone); all went back to block 10 0.3 s later",
        "checkpoint 10 is complete",
    ],
)
def test_others_are_not(message: str) -> None:
    assert replaced_for_nothing([message], STRUCK) == []
