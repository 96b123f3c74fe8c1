"""Silence counts from when the driver could hear, by the driver's own clock."""

import pytest

from cluster.hearing import ABSENT_S, DEAF_S, SILENT_S, STUCK_S, Hearing
from shared.registry_facts import Heartbeat

STARTED_S = 1000.0
ROLE = "lane-0"


class Look:
    """A driver that looks each second, at a role that does, or does not, beat and get on."""

    def __init__(self) -> None:
        self.hearing, self.now_s, self.server_s = Hearing(), STARTED_S, 5e6
        self.beat_s, self.progress, self.unwritten_s = self.server_s, 0, 0
        self.look(0)

    def look(self, seconds: int, beats: bool = True, gets_on: bool = True, is_full: bool = False) -> str | None:
        """What is said of the role after so many looks."""
        for _ in range(max(1, seconds)):
            self.now_s, self.server_s = self.now_s + 1, self.server_s + 1
            self.beat_s = self.server_s if beats else self.beat_s
            self.progress += beats and gets_on
            self.unwritten_s = self.unwritten_s + 1 if is_full else 0
            self.answer()
        return self.hearing.complaint(ROLE, STARTED_S)

    def answer(self) -> None:
        beat = Heartbeat(int(1000 * (self.server_s - self.beat_s)), self.progress, 0)
        self.hearing.looked(self.now_s, int(1000 * self.server_s), {ROLE: beat}, 1000 * self.unwritten_s)


def test_who_beats_and_gets_on_is_well() -> None:
    assert Look().look(int(2 * STUCK_S)) is None


def test_who_was_heard_and_is_silent_is_hung() -> None:
    one = Look()
    assert one.look(int(SILENT_S), beats=False) is None
    assert one.look(1, beats=False) == "was silent for 31 s"


def test_who_was_never_heard_is_absent_after_minutes_and_counts_as_hung_after_half_an_hour() -> None:
    one = Look()
    since_s = one.now_s
    one.look(int(ABSENT_S))
    assert list(one.hearing.absent({ROLE: since_s, "lane-1": since_s})) == []
    one.look(1)
    assert list(one.hearing.absent({ROLE: since_s, "lane-1": since_s, "lane-2": since_s + 1})) == ["lane-1"]
    assert one.look(int(STUCK_S - ABSENT_S) - 1) is None and one.hearing.complaint("lane-1", since_s) is None
    one.look(1)
    assert one.hearing.complaint("lane-1", since_s) == "was not heard for 30 min"


def test_who_beats_but_does_not_get_on_for_long_is_hung() -> None:
    one = Look()
    assert one.look(int(STUCK_S), gets_on=False) is None
    assert one.look(1, gets_on=False) == "did not get on for 30 min"


def test_a_heartbeat_of_the_one_before_is_not_held_against_an_heir() -> None:
    one = Look()
    assert one.look(60, beats=False) is not None
    assert one.hearing.complaint(ROLE, one.now_s - 10) is None


@pytest.mark.parametrize("away_s", [DEAF_S + 1, 3600])
def test_what_redis_did_not_pass_on_is_nobodys_silence(away_s: float) -> None:
    one = Look()
    one.now_s, one.server_s = one.now_s + away_s, one.server_s + away_s
    assert one.look(1, beats=False) is None
    assert one.look(int(SILENT_S) + 1, beats=False) is not None


@pytest.mark.parametrize("jump_s", [-7200, -40, 40, 7200])
def test_a_clock_of_the_server_that_jumps_is_nobodys_silence_and_hides_nobodys(jump_s: float) -> None:
    one = Look()
    one.look(100)
    one.server_s += jump_s
    assert one.look(5, beats=False) is None
    assert one.look(int(SILENT_S), beats=False) is not None
    assert one.look(1) is None


def test_silence_is_nobodys_while_the_registry_takes_not_even_the_drivers_heartbeat() -> None:
    one = Look()
    assert one.look(100, beats=False, is_full=True) is None
    assert one.look(int(SILENT_S), beats=False) is None
    assert one.look(2, beats=False) is not None
