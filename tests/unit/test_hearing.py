"""Silence counts from when the driver could hear."""

import pytest

from cluster.hearing import DEAF_S, SILENT_S, STUCK_S, Hearing
from shared.registry_facts import Heartbeat

STARTED_S = 1000.0


def listened(until_s: float) -> Hearing:
    """A driver that has looked each second from the start."""
    hearing = Hearing()
    for second in range(int(STARTED_S), int(until_s) + 1):
        hearing.looked(second)
    return hearing


def beat(silent_s: float, stuck_s: float) -> Heartbeat:
    return Heartbeat(int(1000 * silent_s), 7, int(1000 * stuck_s))


def test_who_beats_and_gets_on_is_well() -> None:
    assert listened(STARTED_S + 2 * STUCK_S).complaint(beat(9, 9), STARTED_S) is None


def test_who_was_heard_and_is_silent_is_hung() -> None:
    hearing = listened(STARTED_S + 100)
    assert hearing.complaint(beat(SILENT_S + 1, SILENT_S + 1), STARTED_S) == "was silent for 31 s"
    assert hearing.complaint(None, STARTED_S) is None


def test_who_beats_but_does_not_get_on_for_long_is_hung() -> None:
    hearing = listened(STARTED_S + 2 * STUCK_S)
    assert hearing.complaint(beat(3, STUCK_S - 1), STARTED_S) is None
    assert hearing.complaint(beat(3, STUCK_S + 1), STARTED_S) == "did not get on for 30 min"


def test_a_heartbeat_of_the_one_before_is_not_held_against_an_heir() -> None:
    assert listened(STARTED_S + 100).complaint(beat(60, 60), STARTED_S + 90) is None


@pytest.mark.parametrize("away_s", [DEAF_S + 1, 3600])
def test_what_redis_did_not_pass_on_is_nobodys_silence(away_s: float) -> None:
    hearing, back_s = listened(STARTED_S + 100), STARTED_S + 100 + away_s
    hearing.looked(back_s)
    assert hearing.complaint(beat(away_s + 40, 2 * STUCK_S), STARTED_S) is None
    for second in range(int(SILENT_S) + 2):
        hearing.looked(back_s + second)
    assert hearing.complaint(beat(away_s + 70, 2 * STUCK_S), STARTED_S) is not None


def test_silence_is_nobodys_while_the_registry_takes_not_even_the_drivers_heartbeat() -> None:
    hearing = Hearing()
    for second in range(100):
        hearing.looked(float(second), own_age_ms=1000 * second)
    assert hearing.complaint(Heartbeat(99_000, 5, 99_000), started_s=0.0) is None
    for second in range(100, 140):
        hearing.looked(float(second), own_age_ms=1000)
    assert hearing.complaint(Heartbeat(139_000, 5, 139_000), started_s=0.0) == "was silent for 139 s"
