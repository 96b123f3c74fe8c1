"""What the soak judges by: its slopes and its plan of kills."""

import random

import pytest

from cluster.restart_policy import FORGIVEN_S, Budget
from tests.soak.churn import plan_kills
from tests.soak.verdict import trends
from tests.soak.vitals import Sample


def _series(per_hour: float, jump_at: int | None = None) -> list[Sample]:
    """An hour of samples of the driver's memory with a noise of 5 MiB."""
    draw = random.Random(0)
    values = [300 + per_hour * number / 240 + draw.uniform(-5, 5) for number in range(240)]
    if jump_at is not None:
        values[jump_at] += 500
    return [Sample(15.0 * i, "driver", "private MiB", value, 7, 15.0 * i) for i, value in enumerate(values)]


def test_memory_that_grows_by_twenty_mebibytes_an_hour_is_not_flat() -> None:
    (trend,) = trends(_series(20.0))
    assert not trend.is_flat and trend.per_hour == pytest.approx(20, abs=3)


def test_noise_and_one_odd_sample_are_flat() -> None:
    (trend,) = trends(_series(0.0, jump_at=230))
    assert trend.is_flat and abs(trend.per_hour) < 3


def test_a_process_that_has_just_begun_is_not_judged() -> None:
    young = [Sample(15.0 * i, "trainer-a", "private MiB", 10.0 * i, 100 + i // 4, 15.0 * (i % 4)) for i in range(240)]
    assert trends(young) == []


def test_no_role_is_killed_more_often_than_a_job_bears() -> None:
    kills = plan_kills(7200, 20, ("a", "b"), seed=3)
    assert len(kills) > 40
    for role in ("a", "b"):
        streak, last_s = 0, -FORGIVEN_S
        for kill in (one for one in kills if one.role == role):
            streak = streak + 1 if kill.at_s - last_s <= FORGIVEN_S else 1
            last_s = kill.at_s
            assert streak <= Budget.CRASHES.most
