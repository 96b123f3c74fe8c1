"""Units on a real Redis: order, window, leases that run out, zombies, rewinding; and against a model in Python."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis

from shared.errors import RegistryError, StaleToken
from shared.job_state import JobState
from shared.registry import Registry
from shared.registry_facts import DeadUnit, End, LaneCounters, Lease, StreamPoint, TrainerCounters, Wait
from shared.registry_keys import key
from tests.redis_fixtures import ask_for_unit, claim, release

TTL_MS = 60_000


def lease(registry: Registry, producer: str = "producer-0", ttl_ms: int = TTL_MS) -> Lease:
    found = ask_for_unit(registry, producer, ttl_ms)
    assert isinstance(found, Lease), found
    return found


def run_out(client: redis.Redis, registry: Registry, unit: int) -> None:
    """As if the lease's time had passed."""
    assert client.zadd(key(registry.job, "leases"), {str(unit): 1}) == 0


@pytest.fixture
def lane(registry: Registry, driver: int) -> int:
    """The token of lane-0 of the driver's stream."""
    return claim(registry, "lane-0")


def test_units_are_leased_in_order_up_to_the_window(registry: Registry, driver: int) -> None:
    assert [lease(registry).unit for _ in range(6)] == [0, 1, 2, 3, 4, 5]
    assert ask_for_unit(registry, "producer-0", TTL_MS) == Wait("window")


def test_window_moves_with_the_lanes_head(registry: Registry, driver: int, lane: int) -> None:
    for _ in range(6):
        lease(registry)
    registry.publish_lane(0, lane, LaneCounters(head=2))
    assert [lease(registry).unit for _ in range(2)] == [6, 8]
    assert ask_for_unit(registry, "producer-0", TTL_MS) == Wait("window")


def test_tokens_grow_and_differ(registry: Registry, driver: int) -> None:
    tokens = [driver, *(lease(registry).token for _ in range(6)), claim(registry, "lane-1")]
    assert tokens == sorted(set(tokens))


def test_no_unit_before_the_stream_has_begun(registry: Registry) -> None:
    registry.claim_job("", "runs/demo", resume=False)
    assert ask_for_unit(registry, "producer-0", TTL_MS) == Wait("stream")


def test_expired_lease_is_claimed_once(registry: Registry, driver: int) -> None:
    first = lease(registry, "producer-0", ttl_ms=1)
    threading.Event().wait(0.01)
    second = lease(registry, "producer-1")
    assert (second.unit, second.attempt) == (first.unit, 2)
    assert lease(registry, "producer-2").unit == 1


def test_zombie_is_refused_after_its_unit_went_to_another(client: redis.Redis, registry: Registry, driver: int) -> None:
    zombie = lease(registry)
    run_out(client, registry, zombie.unit)
    heir = lease(registry, "producer-1")
    message = f"unit 0 token {zombie.token} is stale, {heir.token} is in force"
    with pytest.raises(StaleToken, match=message):
        registry.finish_unit(zombie.unit, zombie.token)
    with pytest.raises(StaleToken):
        registry.announce_unit(zombie.unit, zombie.token, 10)
    with pytest.raises(StaleToken):
        registry.give_back_unit(zombie.unit, zombie.token, "late")
    assert registry.renew_leases("producer-0", {0: zombie.token}, TTL_MS) == [0]
    registry.finish_unit(heir.unit, heir.token)


def test_lease_that_ran_out_but_nobody_took_can_be_renewed(
    client: redis.Redis, registry: Registry, driver: int
) -> None:
    mine = lease(registry)
    run_out(client, registry, mine.unit)
    assert registry.renew_leases("producer-0", {mine.unit: mine.token}, TTL_MS) == []
    assert lease(registry, "producer-1").unit == 1


def test_finishing_again_changes_nothing(registry: Registry, driver: int) -> None:
    mine = lease(registry)
    registry.finish_unit(mine.unit, mine.token)
    registry.finish_unit(mine.unit, mine.token)
    assert registry.renew_leases("producer-0", {mine.unit: mine.token}, TTL_MS) == []
    units = registry.snapshot().units
    assert (units.leased, units.finished) == ({}, (0,))
    assert lease(registry).unit == 1


def test_unit_that_its_lane_took_in_is_done_whoever_holds_it(
    client: redis.Redis, registry: Registry, driver: int, lane: int
) -> None:
    mine = lease(registry)
    registry.announce_unit(mine.unit, mine.token, 70)
    registry.publish_lane(0, lane, LaneCounters(head=1, pushed=70, resident=70))
    assert registry.renew_leases("producer-0", {mine.unit: mine.token}, TTL_MS) == []
    registry.finish_unit(mine.unit, mine.token)
    assert release(registry, "producer-0") == []
    assert registry.snapshot().lanes[0].announced == 70
    for name in ("leases", "grants", "attempts", "rows"):
        assert not client.delete(key(registry.job, name)), f"{name} was still there"


def test_announcing_other_rows_than_before_is_refused(registry: Registry, driver: int) -> None:
    mine = lease(registry)
    registry.announce_unit(mine.unit, mine.token, 70)
    registry.announce_unit(mine.unit, mine.token, 70)
    with pytest.raises(RegistryError, match="unit 0 had 70 rows before and has 71 now: the corpus has changed"):
        registry.announce_unit(mine.unit, mine.token, 71)


def test_dead_producers_units_come_back_at_once_and_first(registry: Registry, driver: int) -> None:
    for number in range(4):
        lease(registry, f"producer-{number % 2}", ttl_ms=TTL_MS - 1000 * number)
    assert release(registry, "producer-0") == [0, 2]
    assert [lease(registry, "producer-2").unit for _ in range(3)] == [0, 2, 4]


def test_unit_that_comes_back_too_often_is_set_aside(registry: Registry, driver: int) -> None:
    for attempt in range(1, 6):
        mine = lease(registry)
        assert mine.attempt == attempt
        assert registry.give_back_unit(mine.unit, mine.token, "not UTF-8") == (attempt == 5)
    assert registry.dead_units() == [DeadUnit(0, "not UTF-8")]
    assert registry.snapshot().units.dead == (DeadUnit(0, "not UTF-8"),)
    assert lease(registry).unit == 1
    assert "unit 0 was set aside after 5 attempts: not UTF-8" in [one.message for one in registry.events()]


def test_producer_that_was_replaced_gets_no_more_units(registry: Registry, driver: int) -> None:
    zombie = claim(registry, "producer-0")
    heir = claim(registry, "producer-0")
    with pytest.raises(StaleToken, match=f"producer-0 token {zombie} is stale, {heir} is in force"):
        registry.lease_unit("producer-0", zombie, TTL_MS)
    assert release(registry, "producer-0") == []
    with pytest.raises(StaleToken, match=f"producer-0 token {heir} is void"):
        registry.lease_unit("producer-0", heir, TTL_MS)


def test_release_without_blame_does_not_count(registry: Registry, driver: int) -> None:
    for _ in range(7):
        assert lease(registry).attempt == 1
        assert release(registry, "producer-0", "fewer producers", is_blamed=False) == [0]
    assert registry.dead_units() == []


def test_satisfied_lane_gets_no_more_units(registry: Registry, driver: int, lane: int) -> None:
    registry.publish_lane(0, lane, LaneCounters(satisfied=True))
    assert [lease(registry).unit for _ in range(3)] == [1, 3, 5]


def test_end_comes_when_nothing_can_come_back(registry: Registry) -> None:
    token = registry.claim_job("", "runs/demo", resume=False)
    registry.begin_stream(token, StreamPoint.fresh(3, 4, 100, 2, []))
    held = [lease(registry) for _ in range(3)]
    assert ask_for_unit(registry, "producer-1", TTL_MS) == Wait("leases")
    for one in held:
        registry.finish_unit(one.unit, one.token)
    assert ask_for_unit(registry, "producer-1", TTL_MS) == End()


def test_end_comes_when_all_lanes_are_satisfied(registry: Registry, driver: int) -> None:
    lease(registry)
    for number in range(2):
        registry.publish_lane(number, claim(registry, f"lane-{number}"), LaneCounters(satisfied=True))
    assert ask_for_unit(registry, "producer-0", TTL_MS) == End()


def test_end_comes_when_the_job_is_over(registry: Registry, driver: int) -> None:
    registry.set_state(driver, JobState.STOPPED)
    assert ask_for_unit(registry, "producer-0", TTL_MS) == End()


def test_resume_leases_from_each_lanes_own_head(registry: Registry, driver: int) -> None:
    zombie = lease(registry)
    lanes = (LaneCounters(head=4, pushed=9, resident=9), LaneCounters(head=2, next_block=1))
    registry.begin_stream(driver, StreamPoint(20, 3, 100, lanes, {"a": TrainerCounters()}))
    assert [lease(registry).unit for _ in range(6)] == [5, 7, 8, 9, 10, 12]
    assert registry.renew_leases("producer-0", {7: zombie.token}, TTL_MS) == [7]


def test_resume_tries_units_again_that_were_set_aside_past_the_head(registry: Registry) -> None:
    token = registry.claim_job("", "runs/demo", resume=False)
    lanes = (LaneCounters(),)
    registry.begin_stream(token, StreamPoint(5, 3, 100, lanes, {}, max_attempts=1))
    for _ in range(2):
        mine = lease(registry)
        registry.give_back_unit(mine.unit, mine.token, "bad")
    registry.begin_stream(token, StreamPoint(5, 3, 100, (LaneCounters(head=1),), {}))
    assert registry.dead_units() == [DeadUnit(0, "bad")]
    assert lease(registry).unit == 1


def test_rewound_lane_gets_its_units_again_and_the_other_lane_keeps_its_own(registry: Registry, driver: int) -> None:
    held = [lease(registry) for _ in range(6)]
    for one in held[:4]:
        registry.finish_unit(one.unit, one.token)
    registry.rewind_lane(driver, 0, LaneCounters(head=1))
    assert registry.renew_leases("producer-0", {one.unit: one.token for one in held}, TTL_MS) == [2, 4]
    assert [lease(registry).unit for _ in range(3)] == [2, 4, 6]
    registry.finish_unit(held[5].unit, held[5].token)


def test_a_lease_from_just_before_its_lane_was_rewound_is_older_than_the_rewind(
    registry: Registry, driver: int
) -> None:
    claim(registry, "lane-0")
    before = lease(registry)
    rewound = registry.rewind_lane(driver, 0, LaneCounters())
    assert before.unit == 0 and before.token < rewound < lease(registry).token


def test_rewound_lane_passes_over_units_that_were_set_aside(registry: Registry) -> None:
    token = registry.claim_job("", "runs/demo", resume=False)
    registry.begin_stream(token, StreamPoint(5, 3, 100, (LaneCounters(),), {}, max_attempts=1))
    mine = lease(registry)
    assert registry.give_back_unit(mine.unit, mine.token, "bad")
    registry.rewind_lane(token, 0, LaneCounters())
    assert [lease(registry).unit for _ in range(2)] == [1, 2]


def test_lane_cannot_go_back_by_itself(registry: Registry, driver: int, lane: int) -> None:
    registry.publish_lane(0, lane, LaneCounters(head=2))
    with pytest.raises(RegistryError, match="lane-0 cannot go from unit 2 back to 1 by itself"):
        registry.publish_lane(0, lane, LaneCounters(head=1))


def test_repeated_request_gets_the_same_unit(registry: Registry, driver: int) -> None:
    token = claim(registry, "producer-0")
    first = registry._call("lease_unit", "producer-0", token, TTL_MS, "once")
    assert registry._call("lease_unit", "producer-0", token, TTL_MS, "once") == first
    assert registry._call("lease_unit", "producer-0", token, TTL_MS, "twice")[1] == 1


def test_repeated_request_for_a_unit_that_has_gone_gets_another(
    client: redis.Redis, registry: Registry, driver: int
) -> None:
    token = claim(registry, "producer-0")
    assert registry._call("lease_unit", "producer-0", token, TTL_MS, "once")[1] == 0
    run_out(client, registry, 0)
    assert lease(registry, "producer-1").unit == 0
    assert registry._call("lease_unit", "producer-0", token, TTL_MS, "once")[1] == 1


def test_lane_ahead_of_a_registry_that_lost_its_last_second_is_believed(
    registry: Registry, driver: int, lane: int
) -> None:
    registry.publish_lane(0, lane, LaneCounters(head=2))
    assert [lease(registry).unit for _ in range(4)] == [1, 3, 4, 5]


HUGE = "1e300"


@pytest.mark.timeout(30)
@pytest.mark.parametrize(
    ("name", "field", "value", "named"),
    [
        ("job", "num_lanes", HUGE, "num_lanes is 1e300"),
        ("job", "num_lanes", "0", "num_lanes is 0"),
        ("job", "num_lanes", "1.5", "num_lanes is 1.5"),
        ("job", "num_lanes", "nan", "num_lanes is nan"),
        ("job", "num_lanes", "many", "num_lanes is many"),
        ("job", "num_units", "inf", "num_units is inf"),
        ("job", "window_units", "-3", "window_units is -3"),
        ("marks", "next:1", "-1e300", "next:1 is -1e+300"),
        ("marks", "next:1", "", "next:1 is nil"),
        ("marks", "head:1", "x", "attempt to perform arithmetic on a nil value"),
        ("marks", "head:0", "-1e18", "head:0 is -1e+18"),
    ],
)
def test_a_number_that_was_damaged_is_named_and_nothing_goes_on_for_ever(
    client: redis.Redis, registry: Registry, driver: int, lane: int, name: str, field: str, value: str, named: str
) -> None:
    client.hset(key(registry.job, name), field, value)
    client.hset(key(registry.job, "dead"), mapping={"0": "no", "1": "no"})
    with pytest.raises(RegistryError) as caught:
        lease(registry)
        registry.publish_lane(0, lane, LaneCounters(head=2))
    assert str(caught.value) == f"what the registry holds of job {registry.job} is damaged: {named}"
    assert client.ping()


def test_a_lane_is_rewound_however_far_its_mark_was_damaged(
    client: redis.Redis, registry: Registry, driver: int
) -> None:
    unit = lease(registry).unit
    client.hset(key(registry.job, "marks"), "next:0", HUGE)
    registry.rewind_lane(driver, 0, LaneCounters())
    assert lease(registry).unit == unit


def test_another_type_of_value_is_said_to_be_damage(client: redis.Redis, registry: Registry, driver: int) -> None:
    client.delete(key(registry.job, "ready"))
    client.hset(key(registry.job, "ready"), "0", "text")
    with pytest.raises(RegistryError, match=f"registry holds of job {registry.job} is damaged: WRONGTYPE Operation"):
        lease(registry)


def test_threads_that_lease_at_once_get_distinct_units_in_order(registry: Registry) -> None:
    token = registry.claim_job("", "runs/demo", resume=False)
    registry.begin_stream(token, StreamPoint.fresh(200, 200, 100, 2, []))
    with ThreadPoolExecutor(8) as pool:
        per_thread = list(pool.map(lambda name: [lease(registry, f"producer-{name}") for _ in range(25)], range(8)))
    for leases in per_thread:
        assert [one.unit for one in leases] == sorted(one.unit for one in leases)
    everything = sorted((one for leases in per_thread for one in leases), key=lambda one: one.unit)
    assert [one.unit for one in everything] == list(range(200))
    assert [one.token for one in everything] == sorted({one.token for one in everything})
