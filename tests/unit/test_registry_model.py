"""The registry's units against a model in Python that is too simple to be wrong (hypothesis, stateful).

The server is real: it is killed and started again from its append-only file; its clock goes on, and jumps either way.
"""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from shared.embedded_redis import EmbeddedRedis
from shared.errors import StaleToken
from shared.registry import Registry
from shared.registry_facts import End, LaneCounters, Lease, StreamPoint, Wait
from shared.registry_keys import job_keys
from tests.memory_folder import memory_folder
from tests.redis_clock import ClockedRedis
from tests.redis_fixtures import ask_for_unit, claim, release

NUM_UNITS, NUM_LANES, WINDOW, MAX_ATTEMPTS, TTL_MS = 11, 2, 3, 2, 30_000
BEGUN_MS = 1_700_000_000_000
MAX_RESTARTS = 2
"""In one example: each takes a tenth of a second."""
PRODUCERS = st.sampled_from(["p", "q"])
LANES = st.sampled_from(range(NUM_LANES))
JUMPS_MS = st.one_of(st.integers(0, 2 * TTL_MS), st.sampled_from([TTL_MS, TTL_MS + 1, -1, -TTL_MS, 10**8, -(10**8)]))


class UnitsMachine(RuleBasedStateMachine):
    """`state[unit]` is one of free, leased, ready, finished, dead; a lane's units below its head are done."""

    def __init__(self, embedded: EmbeddedRedis, client: ClockedRedis) -> None:
        super().__init__()
        self.embedded, self.client, self.registry = embedded, client, Registry(client, "model")
        self.now_ms, self.num_restarts, self.newest_token = BEGUN_MS, 0, 0
        self.move_clock(0)
        self.driver = self.newer(self.registry.claim_job("", "runs/model", resume=True))
        lanes = tuple(LaneCounters(next_block=lane) for lane in range(NUM_LANES))
        point = StreamPoint(NUM_UNITS, WINDOW, 10, lanes, {}, max_attempts=MAX_ATTEMPTS)
        self.newer(self.registry.begin_stream(self.driver, point))
        self.lane_tokens = [self.newer(claim(self.registry, f"lane-{lane}")) for lane in range(NUM_LANES)]
        self.state = ["free"] * NUM_UNITS
        self.attempts = [0] * NUM_UNITS
        self.holder: dict[int, tuple[str, int]] = {}
        self.ends_ms: dict[int, int] = {}
        """Unit -> when its lease runs out."""
        self.heads = [0] * NUM_LANES
        self.satisfied = [False] * NUM_LANES
        self.old_tokens: list[tuple[int, int]] = []

    def newer(self, token: int) -> int:
        """Whatever the clock says and whatever happens to the server, no token comes twice, nor below another."""
        assert token > self.newest_token
        self.newest_token = token
        return token

    def units(self, *states: str) -> list[int]:
        return [unit for unit, state in enumerate(self.state) if state in states and not self.is_done(unit)]

    def is_done(self, unit: int) -> bool:
        return unit // NUM_LANES < self.heads[unit % NUM_LANES]

    def come_back(self, unit: int) -> None:
        self.old_tokens.append((unit, self.holder.pop(unit)[1]))
        self.state[unit] = "dead" if self.attempts[unit] >= MAX_ATTEMPTS else "ready"

    def expected(self) -> int | Wait | End:
        wanted = {unit for unit in range(NUM_UNITS) if not self.satisfied[unit % NUM_LANES]}
        if ready := wanted.intersection(self.units("ready")):
            return min(ready)
        free = wanted.intersection(self.units("free"))
        if inside := [unit for unit in free if unit // NUM_LANES < self.heads[unit % NUM_LANES] + WINDOW]:
            return min(inside)
        if free:
            return Wait("window")
        return Wait("leases") if wanted.intersection(self.units("leased")) else End()

    @rule(by_ms=JUMPS_MS)
    def move_clock(self, by_ms: int) -> None:
        self.now_ms += by_ms
        self.client.set_clock(self.now_ms)

    @precondition(lambda self: self.num_restarts < MAX_RESTARTS)
    @rule()
    def kill_and_restart(self) -> None:
        self.num_restarts += 1
        os.kill(int(self.client.info("server")["process_id"]), signal.SIGKILL)  # type: ignore[index]
        self.embedded.connect().close()

    @rule(producer=PRODUCERS)
    def lease(self, producer: str) -> None:
        for unit in self.units("leased"):
            if self.ends_ms[unit] < self.now_ms:
                self.come_back(unit)
        expected, found = self.expected(), ask_for_unit(self.registry, producer, TTL_MS)
        if not isinstance(found, Lease):
            assert found == expected
            return
        assert found.unit == expected
        self.attempts[found.unit] += 1
        assert found.attempt == self.attempts[found.unit]
        self.state[found.unit], self.holder[found.unit] = "leased", (producer, self.newer(found.token))
        self.ends_ms[found.unit] = self.now_ms + TTL_MS

    @rule(producer=PRODUCERS)
    def renew(self, producer: str) -> None:
        """What ran out and went to nobody is renewed, too; what another has is lost."""
        held = [unit for unit in self.units("leased") if self.holder[unit][0] == producer]
        tokens = {unit: self.holder[unit][1] for unit in held}
        gone = {unit: token for unit, token in self.old_tokens if unit not in tokens}
        lost = self.registry.renew_leases(producer, {**tokens, **gone}, TTL_MS)
        assert set(lost) == {unit for unit in gone if not self.is_done(unit)}
        self.ends_ms |= dict.fromkeys(held, self.now_ms + TTL_MS)

    @precondition(lambda self: self.units("leased"))
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        unit = data.draw(st.sampled_from(self.units("leased")))
        self.registry.finish_unit(unit, self.holder[unit][1])
        self.state[unit] = "finished"

    @precondition(lambda self: self.units("leased"))
    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        unit = data.draw(st.sampled_from(self.units("leased")))
        token = self.holder[unit][1]
        is_blamed = data.draw(st.booleans())
        self.attempts[unit] -= not is_blamed
        self.come_back(unit)
        assert self.registry.give_back_unit(unit, token, "bad", is_blamed) == (self.state[unit] == "dead")

    @rule(producer=PRODUCERS)
    def release(self, producer: str) -> None:
        held = [unit for unit in self.units("leased") if self.holder[unit][0] == producer]
        for index, unit in enumerate(held):
            self.attempts[unit] -= index > 0  # the lowest was in the model, the others only waited
            self.come_back(unit)
        assert release(self.registry, producer) == held

    @precondition(lambda self: self.old_tokens)
    @rule(data=st.data())
    def zombie_finishes(self, data: st.DataObject) -> None:
        unit, token = data.draw(st.sampled_from(self.old_tokens))
        if self.is_done(unit):
            self.registry.finish_unit(unit, token)
            return
        try:
            self.registry.finish_unit(unit, token)
        except StaleToken:
            return
        raise AssertionError("a zombie finished a unit")

    @rule(lane=LANES)
    def advance(self, lane: int) -> None:
        unit = lane + NUM_LANES * self.heads[lane]
        if unit < NUM_UNITS and self.state[unit] in ("finished", "dead", "leased"):
            self.heads[lane] += 1
            self.publish(lane)

    @rule(lane=LANES)
    def satisfy(self, lane: int) -> None:
        self.satisfied[lane] = True
        self.publish(lane)

    @rule(lane=LANES, data=st.data())
    def rewind(self, lane: int, data: st.DataObject) -> None:
        self.heads[lane] = data.draw(st.integers(0, self.heads[lane]))
        self.satisfied[lane] = False
        self.newer(self.registry.rewind_lane(self.driver, lane, LaneCounters(head=self.heads[lane])))
        for unit in range(lane, NUM_UNITS, NUM_LANES):
            if not self.is_done(unit):
                if unit in self.holder:
                    self.old_tokens.append((unit, self.holder.pop(unit)[1]))
                self.state[unit] = "dead" if self.state[unit] == "dead" else "free"
                self.attempts[unit] = 0

    def publish(self, lane: int) -> None:
        counters = LaneCounters(head=self.heads[lane], satisfied=self.satisfied[lane])
        self.registry.publish_lane(lane, self.lane_tokens[lane], counters)

    @invariant()
    def units_agree(self) -> None:
        units = self.registry.snapshot().units
        assert units.leased == {unit: self.holder[unit][0] for unit in self.units("leased")}
        assert list(units.finished) == self.units("finished")
        assert list(units.ready) == self.units("ready")
        assert [one.unit for one in units.dead] == [unit for unit in range(NUM_UNITS) if self.state[unit] == "dead"]


@pytest.fixture
def embedded() -> Iterator[EmbeddedRedis]:
    """A server that nobody else needs. With a slow disk it would put off writes, which a kill then loses."""
    with memory_folder("model") as folder:
        embedded = EmbeddedRedis(Path(folder))
        yield embedded
        embedded.stop()


def test_units_behave_as_the_model(embedded: EmbeddedRedis) -> None:
    with embedded.connect() as connected:
        client = ClockedRedis.like(connected)

        class Machine(UnitsMachine):
            def __init__(self) -> None:
                super().__init__(embedded, client)

            def teardown(self) -> None:
                client.delete(*job_keys(self.registry.job))

        checks = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
        run_state_machine_as_test(
            Machine,
            settings=settings(max_examples=40, stateful_step_count=40, deadline=None, suppress_health_check=checks),
        )
