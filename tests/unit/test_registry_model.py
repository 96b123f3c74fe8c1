"""The registry's units against a model in Python that is too simple to be wrong (hypothesis, stateful)."""

import redis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from shared.errors import StaleToken
from shared.registry import Registry
from shared.registry_facts import End, LaneCounters, Lease, StreamPoint, Wait
from shared.registry_keys import job_keys, key
from tests.redis_fixtures import ask_for_unit, claim, release

NUM_UNITS, NUM_LANES, WINDOW, MAX_ATTEMPTS, TTL_MS = 11, 2, 3, 2, 600_000
PRODUCERS = st.sampled_from(["p", "q"])
LANES = st.sampled_from(range(NUM_LANES))


class UnitsMachine(RuleBasedStateMachine):
    """`state[unit]` is one of free, leased, expired, ready, finished, dead; a lane's units below its head are done."""

    def __init__(self, registry: Registry, client: redis.Redis) -> None:
        super().__init__()
        self.registry, self.client = registry, client
        self.driver = registry.claim_job("", "runs/model", resume=True)
        lanes = tuple(LaneCounters(next_block=lane) for lane in range(NUM_LANES))
        registry.begin_stream(self.driver, StreamPoint(NUM_UNITS, WINDOW, 10, lanes, {}, max_attempts=MAX_ATTEMPTS))
        self.lane_tokens = [claim(registry, f"lane-{lane}") for lane in range(NUM_LANES)]
        self.state = ["free"] * NUM_UNITS
        self.attempts = [0] * NUM_UNITS
        self.holder: dict[int, tuple[str, int]] = {}
        self.heads = [0] * NUM_LANES
        self.satisfied = [False] * NUM_LANES
        self.old_tokens: list[tuple[int, int]] = []

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

    @rule(producer=PRODUCERS)
    def lease(self, producer: str) -> None:
        for unit in self.units("expired"):
            self.come_back(unit)
        expected, found = self.expected(), ask_for_unit(self.registry, producer, TTL_MS)
        if not isinstance(found, Lease):
            assert found == expected
            return
        assert found.unit == expected
        self.attempts[found.unit] += 1
        assert found.attempt == self.attempts[found.unit]
        self.state[found.unit], self.holder[found.unit] = "leased", (producer, found.token)

    @precondition(lambda self: self.units("leased", "expired"))
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        unit = data.draw(st.sampled_from(self.units("leased", "expired")))
        self.registry.finish_unit(unit, self.holder[unit][1])
        self.state[unit] = "finished"

    @precondition(lambda self: self.units("leased"))
    @rule(data=st.data())
    def run_out(self, data: st.DataObject) -> None:
        unit = data.draw(st.sampled_from(self.units("leased")))
        self.client.zadd(key(self.registry.job, "leases"), {str(unit): 1})
        self.state[unit] = "expired"

    @precondition(lambda self: self.units("leased", "expired"))
    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        unit = data.draw(st.sampled_from(self.units("leased", "expired")))
        token = self.holder[unit][1]
        is_blamed = data.draw(st.booleans())
        self.attempts[unit] -= not is_blamed
        self.come_back(unit)
        assert self.registry.give_back_unit(unit, token, "bad", is_blamed) == (self.state[unit] == "dead")

    @rule(producer=PRODUCERS)
    def release(self, producer: str) -> None:
        held = [unit for unit in self.units("leased", "expired") if self.holder[unit][0] == producer]
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
        if unit < NUM_UNITS and self.state[unit] in ("finished", "dead", "leased", "expired"):
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
        self.registry.rewind_lane(self.driver, lane, LaneCounters(head=self.heads[lane]))
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
        leased = {unit: self.holder[unit][0] for unit in self.units("leased", "expired")}
        assert units.leased == leased
        assert list(units.finished) == self.units("finished")
        assert list(units.ready) == self.units("ready")
        assert [one.unit for one in units.dead] == [unit for unit in range(NUM_UNITS) if self.state[unit] == "dead"]


def test_units_behave_as_the_model(registry: Registry, client: redis.Redis) -> None:
    class Machine(UnitsMachine):
        def __init__(self) -> None:
            super().__init__(registry, client)

        def teardown(self) -> None:
            client.delete(*job_keys(registry.job))

    checks = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
    run_state_machine_as_test(
        Machine, settings=settings(max_examples=40, stateful_step_count=30, deadline=None, suppress_health_check=checks)
    )
