import pytest

from cluster import rate
from cluster.rate import WINDOW_S, Rate


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The monotonic clock, whose time is the list's one item."""
    now = [100.0]
    monkeypatch.setattr(rate.time, "monotonic", lambda: now[0])
    return now


def test_first_sample_has_no_rate(clock: list[float]) -> None:
    assert Rate().per_s(5) == 0.0


def test_rate_is_growth_over_time(clock: list[float]) -> None:
    speed = Rate()
    speed.per_s(10)
    clock[0] += 2
    assert speed.per_s(30) == pytest.approx(10.0)


def test_only_the_last_seconds_count(clock: list[float]) -> None:
    speed = Rate()
    for count in range(0, 1000, 100):
        speed.per_s(count)
        clock[0] += 1
    for _ in range(int(WINDOW_S) + 2):
        clock[0] += 1
        last = speed.per_s(900)
    assert last == 0.0


def test_counter_that_went_back_begins_anew(clock: list[float]) -> None:
    speed = Rate()
    speed.per_s(1000)
    clock[0] += 1
    assert speed.per_s(10) == 0.0
    clock[0] += 1
    assert speed.per_s(14) == pytest.approx(4.0)


def test_two_samples_at_one_moment_are_no_division_by_zero(clock: list[float]) -> None:
    speed = Rate()
    speed.per_s(1)
    assert speed.per_s(2) == 0.0
