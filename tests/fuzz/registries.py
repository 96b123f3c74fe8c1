"""What a real redis-server holds of a real job, changed: looked at, claimed, streamed on with."""

import json
import math
import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import redis
import redis.exceptions

from cluster.audit import audit_facts
from cluster.status import status_facts
from shared.embedded_redis import EmbeddedRedis
from shared.errors import HeadraceError
from shared.job_file import dump_job, parse_job
from shared.job_state import JobState
from shared.ledger import ledger
from shared.registry import Registry, list_jobs
from shared.registry_connection import connect_registry
from shared.registry_facts import EvaluationRecord, LaneCounters, Lease, StreamPoint, TrainerCounters
from shared.registry_keys import JOBS, NAMES, key
from tests.fuzz.mutation import HOSTILE, mutate_bytes, mutate_tree
from tests.fuzz.target import Target

JOB = "demo"
YAML = """
name: demo
model: {name: m, hookpoints: [h]}
corpus: {source: data}
stream: {lanes: 2, block_rows: 100, buffer_rows: 1000}
trainers: [{name: a, architecture: topk, num_latents: 64, k: 4}, {name: b, architecture: topk, num_latents: 64, k: 4}]
tokens: 2000
"""
ROLES = ("lane-0", "lane-1", "trainer-a", "trainer-b", "producer-0", "producer-1", "evaluator")


class Registries(Target):
    """Every call of the registry, and status and ledger, on one job's damaged keys."""

    name = "registries"

    def __init__(self, ground: Path) -> None:
        super().__init__(ground)
        self._server = EmbeddedRedis(ground)
        self._client = self._server.connect()
        self._raw = redis.Redis(
            unix_socket_path=self._client.connection_pool.connection_kwargs["path"],
            password=(ground / ".registry" / "secret").read_text().strip(),
            socket_timeout=20.0,
        )
        self._impatient = connect_registry(self._server.url(), ground / ".registry" / "secret", num_retries=0)
        self._driver, self._tokens, self._leases = _run_a_while(Registry(self._client, JOB))
        self._sound = {name: self._raw.dump(name) for name in (JOBS, *(key(JOB, one) for one in NAMES))}

    def lay(self, draw: random.Random, folder: Path) -> None:
        self._raw.flushall()
        for name, dumped in self._sound.items():
            if dumped is not None:
                self._raw.restore(name, 0, dumped)
        for _ in range(draw.choice((1, 1, 2, 4))):
            _damage(draw, self._raw, draw.choice([name for name, dumped in self._sound.items() if dumped is not None]))
        if draw.random() < 0.5:
            with suppress(redis.exceptions.ResponseError):  # it is no hash any more
                self._raw.hset(key(JOB, "job"), "driver_ms", 1)

    def feed(self, draw: random.Random, folder: Path) -> None:
        registry = Registry(self._impatient, JOB)
        refused: HeadraceError | None = None
        for call in self._calls(draw, registry):
            try:
                call()
            except HeadraceError as error:
                assert str(error).strip() and "\n" not in str(error).strip() and len(str(error)) < 1000, str(error)
                refused = error
        self._raw.ping()
        if refused:
            raise refused

    def close(self) -> None:
        self._server.stop()

    def _calls(self, draw: random.Random, registry: Registry) -> Iterator[Callable[[], Any]]:
        driver, tokens = self._driver, self._tokens
        yield from _looks(registry, self._impatient)
        writes = [
            lambda: registry.heartbeat_driver(driver),
            lambda: registry.lease_unit("producer-0", tokens["producer-0"], 1000),
            lambda: registry.lease_unit("producer-1", tokens["producer-1"], 1000),
            lambda: registry.renew_leases("producer-0", {one.unit: one.token for one in self._leases}, 1000),
            lambda: registry.announce_unit(self._leases[-1].unit, self._leases[-1].token, 40),
            lambda: registry.finish_unit(self._leases[-1].unit, self._leases[-1].token),
            lambda: registry.give_back_unit(self._leases[-2].unit, self._leases[-2].token, "no"),
            lambda: registry.release_producer(driver, "producer-1"),
            lambda: registry.claim_role(driver, "producer-1"),
            lambda: registry.heartbeat("lane-0", tokens["lane-0"], 3),
            lambda: registry.publish_lane(
                0, tokens["lane-0"], LaneCounters(head=3, next_block=6, emitted=300, pushed=300)
            ),
            lambda: registry.publish_trainer("a", tokens["trainer-a"], TrainerCounters(cursor=4, rows=400)),
            lambda: registry.publish_evaluation(tokens["evaluator"], "a", EvaluationRecord(fvu=0.5)),
            lambda: registry.fix_scale("h sqrt_d", 0.5),
            lambda: registry.save_part(10, "lane-0", tokens["lane-0"], 4),
            lambda: registry.add_event("kind", "message"),
            lambda: registry.add_metrics("lane-0", {"a": 1}),
            lambda: registry.forget_checkpoints(2),
            lambda: registry.rewind_lane(driver, 1, LaneCounters(next_block=1)),
            lambda: registry.set_state(driver, JobState.DEGRADED, "a unit is set aside"),
            lambda: registry.remove_trainer(driver, "b"),
            lambda: registry.request_stop(),
        ]
        draw.shuffle(writes)
        yield from writes
        yield from _looks(registry, self._impatient)
        yield lambda: _resume(registry)
        yield from _looks(registry, self._impatient)


def _looks(registry: Registry, client: redis.Redis) -> Iterator[Callable[[], Any]]:
    """What `jobs`, `status`, `ledger`, `watch` and the driver do."""
    yield lambda: list_jobs(client)
    yield registry.job_state
    yield registry.stop_requested
    yield lambda: _status(registry)
    yield lambda: audit_facts(registry.snapshot())
    yield lambda: ledger(registry.snapshot()).imbalances()
    yield registry.events
    yield registry.metrics
    yield registry.heartbeats
    yield registry.dead_units
    yield registry.completed_checkpoints


def _status(registry: Registry) -> None:
    snapshot, text = registry.snapshot(), registry.job_yaml()
    facts = status_facts(snapshot, parse_job(text or ""))
    json.dumps(facts)


def _resume(registry: Registry) -> None:
    token = registry.claim_job(dump_job(parse_job(YAML)), "runs/demo", resume=True)
    registry.begin_stream(token, StreamPoint.fresh(20, 3, 100, 2, ["a", "b"]))
    registry.lease_unit("producer-0", registry.claim_role(token, "producer-0"), 1000)
    registry.snapshot()


def _run_a_while(registry: Registry) -> tuple[int, dict[str, int], list[Lease]]:
    """A job of 20 units in the middle of its work; its driver's token, the roles' tokens, leases that are held."""
    driver = registry.claim_job(dump_job(parse_job(YAML)), "runs/demo", resume=False)
    registry.begin_stream(driver, StreamPoint.fresh(20, 3, 100, 2, ["a", "b"]))
    registry.set_state(driver, JobState.RUNNING)
    tokens = {role: registry.claim_role(driver, role) for role in ROLES}
    leases = [
        registry.lease_unit(f"producer-{number % 2}", tokens[f"producer-{number % 2}"], 60_000) for number in range(6)
    ]
    held = [one for one in leases if isinstance(one, Lease)]
    assert len(held) == 6
    for lease in held[:3]:
        registry.announce_unit(lease.unit, lease.token, 40)
        registry.finish_unit(lease.unit, lease.token)
    for attempt in range(5):
        registry.give_back_unit(held[3].unit, held[3].token, f"not UTF-8 ({attempt})")
        again = registry.lease_unit("producer-0", tokens["producer-0"], 60_000)
        if not isinstance(again, Lease) or again.unit != held[3].unit:
            break
        held[3] = again
    for lane in (0, 1):
        counters = LaneCounters(head=1, pushed=40, resident=20, emitted=20, next_block=lane + 2)
        registry.publish_lane(lane, tokens[f"lane-{lane}"], counters)
    for name in ("a", "b"):
        counters_of_one = TrainerCounters(cursor=1, rows=20, fvu=0.5, l0=4.0, dead_fraction=0.1, state="running")
        registry.publish_trainer(name, tokens[f"trainer-{name}"], counters_of_one)
    for role in ROLES:
        registry.heartbeat(role, tokens[role], 1)
    for role in ROLES[:4]:
        registry.save_part(0, role, tokens[role], 4)
    registry.save_part(10, "lane-1", tokens["lane-1"], 4)
    registry.fix_scale("h sqrt_d", 0.25)
    registry.publish_evaluation(tokens["evaluator"], "a", EvaluationRecord(block=0, fvu=0.5, contexts=3))
    registry.add_event("kind", "something <b>happened</b>")
    registry.add_metrics("lane-0", {"rows_per_s": 3.5})
    return driver, tokens, held


def _damage(draw: random.Random, client: redis.Redis, name: str) -> None:
    """One change to one key, whatever type it has by now."""
    kind = client.type(name).decode()  # type: ignore[union-attr]
    way = draw.random()
    if way < 0.06:
        client.delete(name)
    elif way < 0.15:
        client.delete(name)
        _other_type(draw, client, name)
    elif kind == "hash":
        _damage_hash(draw, client, name)
    elif kind == "zset":
        _damage_zset(draw, client, name)
    elif kind == "stream":
        fields = draw.choice(
            ({"kind": "x"}, {"source": "lane-0", "fields": "{"}, {"a": "b"}, {"source": "x", "fields": "[]"})
        )
        client.xadd(name, fields)  # type: ignore[arg-type]


def _other_type(draw: random.Random, client: redis.Redis, name: str) -> None:
    value = _hostile(draw)
    draw.choice(
        (
            lambda: client.set(name, value),
            lambda: client.rpush(name, value),
            lambda: client.sadd(name, value),
            lambda: client.hset(name, value or b"f", value),
            lambda: client.zadd(name, {value: 1.0}),
            lambda: client.xadd(name, {"f": value}),
        )
    )()


def _damage_hash(draw: random.Random, client: redis.Redis, name: str) -> None:
    items: Any = client.hgetall(name)
    field = draw.choice(sorted(items)) if items else b"f"
    value, way = items.get(field, b""), draw.random()
    if way < 0.15:
        client.hdel(name, field)
    elif way < 0.30:
        client.hset(
            name, draw.choice((b"new", b"", b"head:7", b"99", b"-1", b"1e3", b"lane-9", b"\xff")), _hostile(draw)
        )
    elif value.startswith(b'{"') and value.endswith(b"}") and way < 0.75:
        with suppress(ValueError):  # damaged before
            client.hset(name, field, json.dumps(mutate_tree(draw, json.loads(value))))
    elif way < 0.7:
        client.hset(name, field, mutate_bytes(draw, value))
    else:
        client.hset(name, field, _hostile(draw))


def _damage_zset(draw: random.Random, client: redis.Redis, name: str) -> None:
    members: Any = client.zrange(name, 0, -1)
    if members and draw.random() < 0.4:
        client.zrem(name, draw.choice(members))
    member = draw.choice((_hostile(draw), *members))
    client.zadd(name, {member: draw.choice((0.0, -1.0, 1e18, math.inf, -math.inf, 7.5))})


def _hostile(draw: random.Random) -> bytes:
    value = draw.choice(
        (*HOSTILE, "99999999999999999999", "-5", "1.5", "0x10", "\xff\xfe", "nan", "inf", "1 2", "3 producer-0")
    )
    return value.encode("utf-8", "surrogatepass") if isinstance(value, str) else json.dumps(value).encode()
