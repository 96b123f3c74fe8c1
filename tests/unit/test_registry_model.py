"""The registry's units against a model in Python that is too simple to be wrong (hypothesis, stateful).

The server is real and is killed now and then; leases run out by a clock that jumps (`tests.registry_machine`).
"""

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from shared.embedded_redis import EmbeddedRedis
from shared.errors import StaleToken
from shared.registry_facts import DRIVER_DEAD_MS, End, LaneCounters, Lease, StreamPoint, Wait
from tests.redis_clock import ClockedRedis
from tests.redis_fixtures import ask_for_unit, claim, release
from tests.registry_machine import TTL_MS, RegistryMachine, run_machine

NUM_UNITS, NUM_LANES, WINDOW, MAX_ATTEMPTS = 11, 2, 3, 2
MAX_UPHEAVALS = 2
"""In one example, of those that go through all units and lanes: the rest is what leads to them."""
PRODUCERS = st.sampled_from(["p", "q"])
LANES = st.sampled_from(range(NUM_LANES))


class UnitsMachine(RegistryMachine):
    """`state[unit]` is one of free, leased, ready, finished, dead; a lane's units below its head are done."""

    def __init__(self, embedded: EmbeddedRedis, client: ClockedRedis) -> None:
        super().__init__(embedded, client)
        self.state = ["free"] * NUM_UNITS
        self.attempts = [0] * NUM_UNITS
        self.holder: dict[int, tuple[str, int]] = {}
        self.ends_ms: dict[int, int] = {}
        """Unit -> when its lease runs out."""
        self.heads = [0] * NUM_LANES
        self.satisfied = [False] * NUM_LANES
        self.old_tokens: list[tuple[int, int]] = []
        self.num_upheavals = 0
        self.claim_job()
        self.put_stream()

    def claim_job(self) -> None:
        self.driver = self.newer(self.registry.claim_job("", "runs/model", resume=True))
        self.silent_ms = self.now_ms + DRIVER_DEAD_MS

    def put_stream(self) -> None:
        """At the heads of the model."""
        lanes = tuple(LaneCounters(head=self.heads[lane], next_block=lane) for lane in range(NUM_LANES))
        point = StreamPoint(NUM_UNITS, WINDOW, 10, lanes, {}, max_attempts=MAX_ATTEMPTS)
        self.newer(self.registry.begin_stream(self.driver, point))
        self.seat_lanes()

    def seat_lanes(self) -> None:
        self.lane_tokens = [self.newer(claim(self.registry, f"lane-{lane}")) for lane in range(NUM_LANES)]

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
        self.leased(producer)

    def leased(self, producer: str) -> int | None:
        """The unit, if there was one."""
        for unit in self.units("leased"):
            if self.ends_ms[unit] < self.now_ms:
                self.come_back(unit)
        expected, found = self.expected(), ask_for_unit(self.registry, producer, TTL_MS)
        if not isinstance(found, Lease):
            assert found == expected
            return None
        assert found.unit == expected
        self.attempts[found.unit] += 1
        assert found.attempt == self.attempts[found.unit]
        self.state[found.unit], self.holder[found.unit] = "leased", (producer, self.newer(found.token))
        self.ends_ms[found.unit] = self.now_ms + TTL_MS
        return found.unit

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
        self.come_back_by_its_producer(data.draw(st.sampled_from(self.units("leased"))), data.draw(st.booleans()))

    @rule(producer=PRODUCERS)
    def unit_that_nobody_can_do(self, producer: str) -> None:
        for _ in range(MAX_ATTEMPTS):
            if (unit := self.leased(producer)) is not None:
                self.come_back_by_its_producer(unit, is_blamed=True)

    def come_back_by_its_producer(self, unit: int, is_blamed: bool) -> None:
        token = self.holder[unit][1]
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
        with pytest.raises(StaleToken):
            self.registry.finish_unit(unit, token)

    @rule(lane=LANES, most=st.integers(1, 3))
    def advance(self, lane: int, most: int) -> None:
        before = self.heads[lane]
        while self.heads[lane] < before + most and self.is_at_hand(lane + NUM_LANES * self.heads[lane]):
            self.heads[lane] += 1
        if self.heads[lane] > before:
            self.publish(lane)

    def is_at_hand(self, unit: int) -> bool:
        """Whether a lane may take it in: it is pushed, or may have been, or is not to come."""
        return unit < NUM_UNITS and self.state[unit] in ("finished", "dead", "leased")

    @rule(lane=LANES)
    def satisfy(self, lane: int) -> None:
        """Not before it has something: nothing more happens to its units then."""
        if self.heads[lane]:
            self.satisfied[lane] = True
            self.publish(lane)

    @rule(lane=LANES, data=st.data())
    def rewind(self, lane: int, data: st.DataObject) -> None:
        self.heads[lane] = data.draw(st.integers(0, self.heads[lane]))
        self.newer(self.registry.rewind_lane(self.driver, lane, LaneCounters(head=self.heads[lane])))
        self.begin_anew(lane, revives=False)

    @precondition(lambda self: self.num_upheavals < MAX_UPHEAVALS and any(self.heads))
    @rule(data=st.data())
    def go_back_to_a_checkpoint(self, data: st.DataObject) -> None:
        """The whole stream: what was set aside gets another chance, too."""
        self.num_upheavals += 1
        self.heads = [data.draw(st.integers(0, head)) for head in self.heads]
        self.put_stream()
        for lane in range(NUM_LANES):
            self.begin_anew(lane, revives=True)

    def begin_anew(self, lane: int, revives: bool) -> None:
        self.satisfied[lane] = False
        for unit in range(lane, NUM_UNITS, NUM_LANES):
            if not self.is_done(unit):
                if unit in self.holder:
                    self.old_tokens.append((unit, self.holder.pop(unit)[1]))
                self.state[unit] = "dead" if self.state[unit] == "dead" and not revives else "free"
                self.attempts[unit] = 0

    @precondition(lambda self: self.num_upheavals < MAX_UPHEAVALS)
    @rule()
    def another_driver_takes_over(self) -> None:
        """Units and leases stay as they are; the driver before can take nothing back any more."""
        self.num_upheavals += 1
        before = self.driver
        self.move_clock(max(0, self.silent_ms - self.now_ms))
        self.claim_job()
        self.seat_lanes()
        for call in (
            lambda: self.registry.release_producer(before, "p"),
            lambda: self.registry.rewind_lane(before, 0, LaneCounters()),
        ):
            with pytest.raises(StaleToken):
                call()

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


def test_units_behave_as_the_model() -> None:
    run_machine(UnitsMachine, 40)
