"""The thread that keeps leases: longer than their time, until they are lost or the role is."""

import logging
import secrets
import threading
import time
from itertools import count
from pathlib import Path

import pytest
import redis

from shared.embedded_redis import EmbeddedRedis
from shared.lease_keeper import LeaseKeeper
from shared.registry import Registry
from shared.registry_facts import Lease, Wait
from shared.registry_keys import SCHEMA, key
from tests.redis_fixtures import ask_for_unit, claim


def await_true(check: "threading.Event | object", what: str) -> None:
    deadline = time.monotonic() + 5
    while not check():  # type: ignore[operator]
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


def lease(registry: Registry, producer: str, ttl_ms: int) -> Lease:
    found = ask_for_unit(registry, producer, ttl_ms)
    assert isinstance(found, Lease)
    return found


def test_held_lease_outlives_its_time(registry: Registry, driver: int) -> None:
    keeper = LeaseKeeper(registry, "producer-0", claim(registry, "producer-0"), ttl_ms=300).start(lambda: 7)
    held = lease(registry, "producer-0", 300)
    keeper.hold(held)
    time.sleep(0.7)
    assert lease(registry, "producer-1", 300).unit == 1
    assert registry.heartbeats()["producer-0"].progress == 7
    keeper.stop()
    assert not keeper.has_lost(held.unit)
    time.sleep(0.4)
    assert lease(registry, "producer-1", 300).unit == 0


def test_lost_unit_is_reported(client: redis.Redis, registry: Registry, driver: int) -> None:
    keeper = LeaseKeeper(registry, "producer-0", claim(registry, "producer-0"), ttl_ms=60)
    mine, other = lease(registry, "producer-0", 60_000), lease(registry, "producer-0", 60_000)
    keeper.hold(mine)
    keeper.hold(other)
    client.zadd(key(registry.job, "leases"), {str(mine.unit): 1})
    assert lease(registry, "producer-1", 60_000).unit == mine.unit
    keeper.start()
    assert keeper.has_lost(mine.unit) and not keeper.has_lost(other.unit)
    keeper.stop()


def test_thread_ends_when_the_role_has_gone(registry: Registry, driver: int) -> None:
    keeper = LeaseKeeper(registry, "producer-0", claim(registry, "producer-0"), ttl_ms=30).start()
    claim(registry, "producer-0")
    await_true(lambda: keeper.is_fenced, "the keeper never noticed")
    keeper.stop()


def test_keeper_begins_while_redis_is_away(tmp_path: Path) -> None:
    embedded = EmbeddedRedis(tmp_path)
    with embedded.connect() as client:
        registry = Registry(client, f"job-{secrets.token_hex(4)}")
        registry.claim_job("", "runs/demo", resume=False)
        keeper = LeaseKeeper(registry, "producer-0", claim(registry, "producer-0"), ttl_ms=60)
        embedded.stop()
        keeper.start()
        embedded.connect().close()
        await_true(lambda: "producer-0" in registry.heartbeats(), "it never beat")
        keeper.stop()
    embedded.stop()


def test_keeper_survives_a_restart_of_redis(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    embedded = EmbeddedRedis(tmp_path)
    with embedded.connect() as client:
        registry = Registry(client, f"job-{secrets.token_hex(4)}")
        registry.claim_job("", "runs/demo", resume=False)
        keeper = LeaseKeeper(registry, "producer-0", claim(registry, "producer-0"), ttl_ms=60)
        beats = iter(range(10**6))
        keeper.start(lambda: next(beats))
        with caplog.at_level(logging.WARNING):
            embedded.stop()
            await_true(lambda: "heartbeat=missed" in caplog.text, "no heartbeat was missed")
        embedded.connect().close()
        before = next(beats)
        await_true(lambda: registry.heartbeats()["producer-0"].progress > before, "it did not go on")
        assert ask_for_unit(registry, "producer-0", 60) == Wait("stream")
        keeper.stop()
    embedded.stop()


def test_keeper_goes_on_after_an_error_that_nobody_foresaw_and_says_it_once(
    client: redis.Redis, registry: Registry, driver: int, caplog: pytest.LogCaptureFixture
) -> None:
    keeper = LeaseKeeper(registry, "producer-0", claim(registry, "producer-0"), ttl_ms=30)
    beats = count()
    keeper.start(lambda: next(beats))
    client.hset(key(registry.job, "job"), "schema", "of another version")
    await_true(lambda: "heartbeat=failed" in caplog.text, "it met no error")
    time.sleep(0.2)
    client.hset(key(registry.job, "job"), "schema", SCHEMA)
    before = next(beats)
    await_true(lambda: registry.heartbeats()["producer-0"].progress > before, "it was not heard again")
    keeper.stop()
    assert caplog.text.count("heartbeat=failed") == 1 and "of another version" in caplog.text
