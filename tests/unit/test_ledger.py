"""The ledger: what balances says nothing, what does not is said in a sentence; also on a real Redis."""

import dataclasses

import pytest

from shared.job_state import JobState
from shared.ledger import blocks_below, ledger, rows_below
from shared.registry import Registry
from shared.registry_facts import LaneCounters, Lease, StreamPoint, TrainerCounters
from shared.registry_snapshot import JobFacts, LaneFacts, Snapshot, UnitFacts
from tests.redis_fixtures import ask_for_unit, claim


def lane(announced: int = 1000, **counters: int) -> LaneFacts:
    one = LaneCounters(**counters)  # type: ignore[arg-type]
    return LaneFacts(one, announced, 9, one.next_block, high_emitted=one.emitted, high_ended=one.has_ended)


def snapshot(lanes: tuple[LaneFacts, ...], **trainers: TrainerCounters) -> Snapshot:
    job = JobFacts("demo", JobState.RUNNING, "", "runs/demo", 0, 0, False, None, num_units=9, block_rows=100)
    return Snapshot(0, job, lanes, trainers, UnitFacts({}, (), (), ()), (), {}, {})


HEALTHY = (
    lane(pushed=450, staged=20, resident=130, emitted=300, next_block=6),
    lane(pushed=300, resident=100, emitted=200, next_block=5),
)
"""Lane 0 has emitted blocks 0, 2, 4; lane 1 blocks 1, 3."""


def test_stream_in_order_balances() -> None:
    found = ledger(snapshot(HEALTHY, a=TrainerCounters(cursor=5, rows=500), b=TrainerCounters(cursor=2, rows=200)))
    assert found.imbalances() == []
    assert (found.leased, found.pushed, found.staged, found.resident, found.emitted) == (2000, 750, 20, 230, 500)
    assert [(one.read, one.lag_blocks, one.lag_rows) for one in found.trainers] == [(500, 0, 0), (200, 3, 300)]


def test_rows_that_are_missing_in_a_lane_are_named() -> None:
    lost = lane(pushed=450, staged=20, resident=129, emitted=300, next_block=6)
    assert ledger(snapshot((lost, HEALTHY[1]))).imbalances() == [
        "lane-0: 450 rows pushed, but 20 staged + 129 resident + 300 emitted + 0 surplus"
    ]


def test_rows_that_nobody_leased_are_named() -> None:
    assert ledger(snapshot((lane(announced=40, pushed=50, resident=50),))).imbalances() == [
        "lane-0: 50 rows pushed, but units of only 40 were leased"
    ]


def test_trainer_that_read_a_row_twice_is_named() -> None:
    assert ledger(snapshot(HEALTHY, a=TrainerCounters(cursor=2, rows=201))).imbalances() == [
        "trainer-a: 201 rows read + 0 passed over, but the blocks below its cursor 2 hold 200"
    ]


def test_trainer_that_joined_late_balances_by_its_gap() -> None:
    assert ledger(snapshot(HEALTHY, a=TrainerCounters(cursor=4, rows=100, gap_rows=300))).imbalances() == []


def test_trainer_ahead_of_the_stream_is_named() -> None:
    found = ledger(snapshot(HEALTHY, a=TrainerCounters(cursor=6, rows=600)))
    assert found.imbalances() == ["trainer-a: its cursor 6 is beyond the blocks that were emitted"]


def test_short_last_block_balances() -> None:
    lanes = (lane(pushed=200, emitted=200, next_block=4), lane(pushed=130, emitted=130, next_block=5))
    assert ledger(snapshot(lanes, a=TrainerCounters(cursor=4, rows=330))).imbalances() == []
    assert rows_below(3, lanes, 100) == 300


def test_trainer_beyond_the_end_of_a_lane_that_was_restored_balances() -> None:
    """The lane had ended with blocks 0 and 2; the other one goes on, and the trainer with it."""
    back = dataclasses.replace(lane(emitted=200, next_block=4), counters=LaneCounters(), high_ended=True)
    lanes = (back, lane(pushed=400, emitted=400, next_block=9))
    assert ledger(snapshot(lanes, a=TrainerCounters(cursor=8, rows=600))).imbalances() == []


def test_lane_that_was_restored_is_held_against_its_farthest() -> None:
    back = dataclasses.replace(HEALTHY[0], counters=LaneCounters(pushed=100, resident=100))
    found = ledger(snapshot((back, HEALTHY[1]), a=TrainerCounters(cursor=5, rows=500)))
    assert found.imbalances() == []


@pytest.mark.parametrize("num_lanes", [1, 2, 3])
def test_every_block_below_a_cursor_belongs_to_one_lane(num_lanes: int) -> None:
    for cursor in range(12):
        for number in range(num_lanes):
            expected = sum(block % num_lanes == number for block in range(cursor))
            assert blocks_below(cursor, number, num_lanes) == expected


def test_ledger_of_a_real_registry_balances_through_a_rewind(registry: Registry, driver: int) -> None:
    """Unit 0 has 150 rows, 30 of them beyond the checkpoint, to which lane 0 then goes back."""
    token, trainer = claim(registry, "lane-0"), claim(registry, "trainer-a")
    unit = ask_for_unit(registry, "producer-0", 60_000)
    assert isinstance(unit, Lease)
    registry.announce_unit(unit.unit, unit.token, 150)
    saved = LaneCounters(pushed=120, resident=120, open_rows=120)
    registry.publish_lane(0, token, saved)
    registry.publish_lane(0, token, LaneCounters(head=1, pushed=150, resident=50, emitted=100, next_block=2))
    registry.publish_trainer("a", trainer, TrainerCounters(cursor=1, rows=100))
    assert ledger(registry.snapshot()).imbalances() == []

    token = claim(registry, "lane-0")
    registry.rewind_lane(driver, 0, saved)
    registry.publish_lane(0, token, saved)
    assert ledger(registry.snapshot()).imbalances() == []
    again = ask_for_unit(registry, "producer-1", 60_000)
    assert isinstance(again, Lease) and again.unit == unit.unit
    registry.announce_unit(again.unit, again.token, 150)
    registry.publish_lane(0, token, LaneCounters(head=1, pushed=150, resident=50, emitted=100, next_block=2))
    found = ledger(registry.snapshot())
    assert found.imbalances() == [] and found.leased == 150


def test_rows_of_a_unit_that_was_set_aside_half_taken_in_stay_leased_through_a_rewind(registry: Registry) -> None:
    """Nobody announces it again; 20 of its 50 rows are in the checkpoint to which its lane goes back."""
    driver = registry.claim_job("", "runs/demo", resume=False)
    registry.begin_stream(driver, StreamPoint(5, 3, 100, (LaneCounters(),), {}, max_attempts=1))
    unit = ask_for_unit(registry, "producer-0", 60_000)
    assert isinstance(unit, Lease)
    registry.announce_unit(unit.unit, unit.token, 50)
    assert registry.give_back_unit(unit.unit, unit.token, "bad")

    saved = LaneCounters(pushed=20, resident=20, open_rows=20)
    registry.rewind_lane(driver, 0, saved)
    registry.publish_lane(0, claim(registry, "lane-0"), LaneCounters(head=1, pushed=20, resident=20))
    following = ask_for_unit(registry, "producer-0", 60_000)
    assert isinstance(following, Lease)
    registry.announce_unit(following.unit, following.token, 30)
    registry.publish_lane(0, claim(registry, "lane-0"), LaneCounters(head=1, pushed=50, resident=50, open_rows=30))
    assert ledger(registry.snapshot()).imbalances() == []
