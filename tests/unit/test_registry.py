"""Jobs, roles, checkpoints and logs on a real Redis."""

import math
import threading
from contextlib import nullcontext

import numpy as np
import pytest
import redis

from shared.errors import RegistryError, StaleToken, UserError
from shared.job_state import TRANSITIONS, JobState
from shared.registry import Registry, list_jobs
from shared.registry_facts import EvaluationRecord, LaneCounters, StreamPoint, TrainerCounters
from shared.registry_keys import SCHEMA, key
from tests.redis_fixtures import claim


def driver_dies(client: redis.Redis, registry: Registry) -> None:
    """As if its last heartbeat was long ago."""
    client.hset(key(registry.job, "job"), "driver_ms", "1")


def test_second_driver_is_refused_while_the_first_lives(registry: Registry, driver: int) -> None:
    for resume in (False, True):
        with pytest.raises(
            UserError, match=r"already running; choose another name or stop it with: headrace stop job-"
        ):
            registry.claim_job("", "elsewhere", resume)


def test_driver_that_was_replaced_is_refused(client: redis.Redis, registry: Registry, driver: int) -> None:
    driver_dies(client, registry)
    assert registry.claim_job("", "runs/demo", resume=True) > driver
    with pytest.raises(StaleToken, match=f"driver token {driver} is stale"):
        registry.heartbeat_driver(driver)
    with pytest.raises(StaleToken):
        registry.set_state(driver, JobState.RUNNING)
    with pytest.raises(StaleToken):
        registry.begin_stream(driver, StreamPoint.fresh(1, 1, 1, 1, []))


def test_job_that_was_interrupted_must_be_resumed(client: redis.Redis, registry: Registry, driver: int) -> None:
    driver_dies(client, registry)
    with pytest.raises(
        UserError, match=r"has begun before \(it is starting\) in runs/demo; go on with: headrace resume"
    ):
        registry.claim_job("", "runs/demo", resume=False)


def test_same_name_in_another_output_begins_anew(client: redis.Redis, registry: Registry, driver: int) -> None:
    registry.set_state(driver, JobState.RUNNING)
    registry.set_state(driver, JobState.FINISHED)
    token = registry.claim_job("name: other", "runs/other", resume=False)
    facts = registry.snapshot().job
    assert (facts.output, facts.num_units, facts.message, token > driver) == ("runs/other", 0, "", True)
    assert registry.job_yaml() == "name: other"


def test_name_of_an_unfinished_run_elsewhere_is_taken_but_its_folder_may_be_resumed_anywhere(
    client: redis.Redis, registry: Registry, driver: int
) -> None:
    registry.set_state(driver, JobState.FAILED, "no space")
    with pytest.raises(UserError, match="is failed in runs/demo; go on with: headrace resume runs/demo"):
        registry.claim_job("name: other", "runs/other", resume=False)
    assert registry.claim_job("name: other", "runs/copied", resume=True) > driver


def test_job_that_failed_before_its_stream_began_may_be_run_again(registry: Registry) -> None:
    registry.set_state(registry.claim_job("", "runs/demo", resume=False), JobState.FAILED)
    assert registry.claim_job("", "runs/demo", resume=False)


def test_a_clock_that_was_set_back_does_not_keep_a_job_from_being_resumed(
    client: redis.Redis, registry: Registry, driver: int
) -> None:
    now_ms = registry.snapshot().time_ms
    for ahead_ms, is_refused in ((2_000, True), (3_600_000, False)):
        client.hset(key(registry.job, "job"), "driver_ms", now_ms + ahead_ms)
        with pytest.raises(UserError, match="already running") if is_refused else nullcontext():
            assert registry.claim_job("", "runs/demo", resume=True) > driver


@pytest.mark.parametrize("state", [JobState.DEGRADED, JobState.DRAINING, JobState.FINISHED])
def test_driver_whose_registry_lost_the_second_in_which_the_job_began_to_run_goes_on(
    registry: Registry, driver: int, state: JobState
) -> None:
    registry.set_state(driver, state)
    assert registry.job_state() is state


def test_finished_job_cannot_be_resumed(registry: Registry, driver: int) -> None:
    registry.set_state(driver, JobState.RUNNING)
    registry.set_state(driver, JobState.FINISHED)
    with pytest.raises(UserError, match="is finished; there is nothing to resume"):
        registry.claim_job("", "runs/demo", resume=True)
    with pytest.raises(UserError, match="is finished in runs/demo; choose another name or output"):
        registry.claim_job("", "runs/demo", resume=False)


def test_what_trainers_ended_with_is_said_with_the_jobs_own_end(registry: Registry, driver: int) -> None:
    registry.begin_stream(driver, StreamPoint.fresh(1, 1, 1, 1, ["a", "b"]))
    end = TrainerCounters(cursor=2, rows=200, state="finished")
    registry.set_state(driver, JobState.FINISHED, ends={"a": end})
    assert registry.snapshot().trainers == {"a": end, "b": TrainerCounters()}
    with pytest.raises(RegistryError):
        registry.set_state(driver, JobState.RUNNING, ends={"b": end})
    assert registry.snapshot().trainers["b"] == TrainerCounters()


def test_job_that_the_registry_has_lost_is_resumed(registry: Registry) -> None:
    token = registry.claim_job("", "runs/demo", resume=True)
    lanes = (LaneCounters(head=3, pushed=250, resident=50, emitted=200, next_block=2),)
    trainers = {"a": TrainerCounters(cursor=2, rows=200)}
    registry.begin_stream(token, StreamPoint(9, 3, 100, lanes, trainers, {"h": 0.1}, checkpoint=2, held_out_contexts=7))
    found = registry.snapshot()
    assert (found.checkpoints, found.job.checkpoint, found.scales) == ((2,), 2, {"h": 0.1})
    assert found.job.held_out_contexts == 7
    assert (found.lanes[0].counters, found.trainers) == (lanes[0], trainers)


def test_only_the_newest_evaluator_publishes_and_what_it_found_outlives_it(registry: Registry, driver: int) -> None:
    registry.begin_stream(driver, StreamPoint.fresh(1, 1, 1, 1, ["a"]))
    older, newer = claim(registry, "evaluator"), claim(registry, "evaluator")
    record = EvaluationRecord(block=40, tokens=4000, contexts=9, fvu=0.25, ce_increase=0.5)
    registry.publish_evaluation(newer, "a", record)
    with pytest.raises(StaleToken):
        registry.publish_evaluation(older, "a", EvaluationRecord())
    assert registry.snapshot().evaluations == {"a": record}
    registry.begin_stream(driver, StreamPoint.fresh(1, 1, 1, 1, ["a"]))
    assert registry.snapshot().evaluations == {"a": record}


def test_repeated_claim_gets_the_same_token(registry: Registry) -> None:
    args = ("", "runs/demo", 0, 15_000, "once")
    assert registry._call("claim_job", *args) == registry._call("claim_job", *args)


@pytest.mark.parametrize("before", JobState)
def test_states_follow_the_table(client: redis.Redis, registry: Registry, driver: int, before: JobState) -> None:
    for after in JobState:
        client.hset(key(registry.job, "job"), "state", before)
        if after == before or after in TRANSITIONS[before]:
            registry.set_state(driver, after)
            assert registry.job_state() == after
        else:
            with pytest.raises(RegistryError, match=f"cannot go from {before} to {after}"):
                registry.set_state(driver, after)
            assert registry.job_state() == before


def test_stop_is_asked_for_once_and_forgotten_at_the_next_claim(registry: Registry, driver: int) -> None:
    assert not registry.stop_requested()
    assert registry.request_stop() and registry.request_stop()
    assert registry.stop_requested() and registry.snapshot().job.stop_requested
    assert [one.kind for one in registry.events()].count("stop") == 1
    registry.set_state(driver, JobState.STOPPED)
    assert not registry.request_stop()
    registry.claim_job("", "runs/demo", resume=True)
    assert not registry.stop_requested()


def test_unknown_job_is_named(registry: Registry) -> None:
    assert registry.job_state() is None and registry.job_yaml() is None
    for call in (registry.snapshot, registry.request_stop):
        with pytest.raises(UserError, match=f"there is no job named {registry.job}"):
            call()


def test_unknown_schema_is_refused_by_name(client: redis.Redis, registry: Registry, driver: int) -> None:
    client.hset(key(registry.job, "job"), "schema", SCHEMA + 1)
    said = f"job {registry.job} has registry schema {SCHEMA + 1}, this Headrace knows {SCHEMA}"
    with pytest.raises(RegistryError, match=said):
        registry.snapshot()
    assert {one.name: one.damage for one in list_jobs(client)}[registry.job] == said
    client.delete(key(registry.job, "job"))


def test_a_damaged_record_hides_no_other_job(client: redis.Redis, registry: Registry, driver: int) -> None:
    other = Registry(client, f"{registry.job}-other")
    other.claim_job("", "runs/other", False)
    client.hset(key(registry.job, "job"), "created_ms", "yesterday")
    found = {one.name: one for one in list_jobs(client)}
    assert registry.job in found[registry.job].damage and not found[registry.job].is_active
    assert found[other.job].damage == "" and found[other.job].is_active
    client.delete(key(registry.job, "job"), key(other.job, "job"))


def test_older_holder_of_a_role_is_refused_everywhere(registry: Registry, driver: int) -> None:
    old, new = claim(registry, "lane-0"), claim(registry, "lane-0")
    with pytest.raises(StaleToken, match=f"lane-0 token {old} is stale, {new} is in force"):
        registry.publish_lane(0, old, LaneCounters())
    with pytest.raises(StaleToken):
        registry.heartbeat("lane-0", old, 1)
    with pytest.raises(StaleToken):
        registry.save_part(0, "lane-0", old, 1)
    registry.publish_lane(0, new, LaneCounters(pushed=3, staged=3))
    assert registry.snapshot().lanes[0].counters.pushed == 3


def test_lane_that_had_ended_is_remembered_as_ended_when_it_goes_back(registry: Registry, driver: int) -> None:
    """Trainers that are beyond its end are not ahead of it while it catches up."""
    token = claim(registry, "lane-0")
    registry.publish_lane(0, token, LaneCounters(pushed=7, resident=7, satisfied=True))
    assert not registry.snapshot().lanes[0].high_ended
    registry.publish_lane(0, token, LaneCounters(pushed=7, emitted=7, next_block=1, satisfied=True))
    registry.rewind_lane(driver, 0, LaneCounters())
    facts = registry.snapshot().lanes[0]
    assert facts.high_ended and not facts.counters.has_ended


def test_driver_that_was_replaced_gives_no_roles_and_takes_no_units(registry: Registry, driver: int) -> None:
    registry.set_state(driver, JobState.FAILED)
    heir = registry.claim_job("", "runs/demo", resume=True)
    for call in (
        lambda: registry.claim_role(driver, "lane-0"),
        lambda: registry.release_producer(driver, "producer-0"),
        lambda: registry.rewind_lane(driver, 0, LaneCounters()),
    ):
        with pytest.raises(StaleToken, match=f"driver token {driver} is stale, {heir} is in force"):
            call()


def test_roles_of_before_are_void_when_the_stream_begins(registry: Registry, driver: int) -> None:
    token = claim(registry, "trainer-a")
    registry.begin_stream(driver, StreamPoint.fresh(1, 1, 1, 1, ["a"]))
    with pytest.raises(StaleToken):
        registry.publish_trainer("a", token, TrainerCounters())


def test_removed_trainer_is_gone_and_refused(registry: Registry, driver: int) -> None:
    token = claim(registry, "trainer-b")
    registry.publish_trainer("b", token, TrainerCounters(cursor=1, rows=100, fvu=0.25, bits_digest="ab"))
    assert registry.snapshot().trainers["b"].fvu == 0.25
    registry.remove_trainer(driver, "b")
    assert list(registry.snapshot().trainers) == ["a"]
    with pytest.raises(StaleToken):
        registry.publish_trainer("b", token, TrainerCounters())


def test_heartbeats_tell_silence_from_standing_still(registry: Registry, driver: int) -> None:
    token = claim(registry, "producer-0")
    assert registry.heartbeats() == {}
    registry.heartbeat("producer-0", token, 5)
    threading.Event().wait(0.05)
    registry.heartbeat("producer-0", token, 5)
    beat = registry.heartbeats()["producer-0"]
    assert beat.progress == 5 and beat.age_ms < 50 <= beat.progress_age_ms + 1
    registry.heartbeat("producer-0", token, 6)
    assert registry.heartbeats()["producer-0"].progress_age_ms < 50
    claim(registry, "producer-0")
    assert registry.heartbeats() == {}


def test_first_scale_wins_to_the_last_bit(registry: Registry, driver: int) -> None:
    value = math.nextafter(0.1, 1)
    assert registry.fix_scale("h", value) == value
    assert registry.fix_scale("h", 2.0) == value
    assert registry.snapshot().scales == {"h": value}


def test_last_part_completes_a_checkpoint(registry: Registry, driver: int) -> None:
    tokens = {role: claim(registry, role) for role in ("lane-0", "lane-1", "trainer-a")}
    assert [registry.save_part(7, role, token, 3) for role, token in tokens.items()] == [False, False, True]
    assert registry.completed_checkpoints() == [7]
    assert registry.save_part(7, "trainer-a", tokens["trainer-a"], 3), "a repeated call gets the same answer"
    assert not registry.save_part(7, "lane-0", tokens["lane-0"], 3)
    assert [one.message for one in registry.events()].count("checkpoint 7 is complete") == 1


def test_part_that_is_saved_twice_counts_once(registry: Registry, driver: int) -> None:
    token = claim(registry, "lane-0")
    assert not registry.save_part(0, "lane-0", token, 2)
    assert not registry.save_part(0, "lane-0", token, 2)
    assert registry.completed_checkpoints() == []


def test_parts_of_two_barriers_do_not_mix(registry: Registry, driver: int) -> None:
    lane, trainer = claim(registry, "lane-0"), claim(registry, "trainer-a")
    assert not registry.save_part(5, "lane-0", lane, 2)
    assert not registry.save_part(10, "lane-0", lane, 2)
    assert registry.save_part(10, "trainer-a", trainer, 2)
    assert registry.save_part(5, "trainer-a", trainer, 2)
    assert registry.completed_checkpoints() == [5, 10] and registry.snapshot().job.checkpoint == 10
    registry.forget_checkpoints(below=10)
    assert registry.completed_checkpoints() == [10]


def test_going_back_drops_newer_checkpoints_and_open_parts(registry: Registry, driver: int) -> None:
    token = claim(registry, "lane-0")
    for block in (5, 10):
        assert registry.save_part(block, "lane-0", token, 1)
    assert not registry.save_part(15, "lane-0", token, 2)
    registry.begin_stream(driver, StreamPoint(9, 3, 100, (LaneCounters(),), {}, checkpoint=5))
    assert registry.completed_checkpoints() == [5]
    assert not registry.save_part(15, "trainer-a", claim(registry, "trainer-a"), 2)


def test_events_are_read_from_where_one_was(registry: Registry, driver: int) -> None:
    registry.add_event("note", "one")
    last = registry.events()[-1]
    registry.add_event("note", "two")
    registry.add_event("note", "three")
    assert [one.message for one in registry.events(last.id)] == ["two", "three"]
    assert [one.message for one in registry.events(last.id, count=1)] == ["two"]
    assert last.time_ms <= registry.snapshot().time_ms


def test_metrics_keep_their_types(registry: Registry, driver: int) -> None:
    fields: dict[str, float | int | str] = {"step": 3, "fvu": 0.1 + 0.2, "state": "running"}
    registry.add_metrics("trainer-a", fields)
    (found,) = registry.metrics()
    assert (found.source, found.fields) == ("trainer-a", fields)
    assert [type(value) for value in found.fields.values()] == [int, float, str]
    assert registry.metrics(found.id) == []


def test_streams_are_capped(client: redis.Redis, registry: Registry, driver: int) -> None:
    with client.pipeline(transaction=False) as pipe:
        for _ in range(10_500):
            pipe.xadd(key(registry.job, "events"), {"kind": "note", "message": ""})
        pipe.execute()
    registry.add_event("note", "last")
    assert 10_000 <= client.xlen(key(registry.job, "events")) < 10_300
    registry.add_event("note", "last")


def test_jobs_are_listed_with_their_slowest_trainer(client: redis.Redis, registry: Registry, driver: int) -> None:
    for name, rows in (("a", 500), ("b", 300)):
        registry.publish_trainer(name, claim(registry, f"trainer-{name}"), TrainerCounters(rows=rows))
    found = {one.name: one for one in list_jobs(client)}[registry.job]
    assert (found.state, found.output, found.tokens, found.is_active) == (JobState.STARTING, "runs/demo", 300, True)
    registry.set_state(driver, JobState.FAILED, "lane-0 died")
    found = {one.name: one for one in list_jobs(client)}[registry.job]
    assert (found.message, found.is_active) == ("lane-0 died", False)


def test_numbers_of_numpy_are_kept_as_numbers(registry: Registry, driver: int) -> None:
    token = claim(registry, "trainer-a")
    registry.publish_trainer("a", token, TrainerCounters(rows=np.int64(3), fvu=np.float32(0.5)))  # type: ignore[arg-type]
    registry.add_metrics("trainer-a", {"l0": np.float32(2)})  # type: ignore[dict-item]
    found = registry.snapshot().trainers["a"]
    assert (found.rows, found.fvu, registry.metrics()[0].fields) == (3, 0.5, {"l0": 2.0})
