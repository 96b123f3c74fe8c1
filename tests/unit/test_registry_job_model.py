"""The registry's jobs, roles and checkpoints against a model (`tests.job_model`): hypothesis, stateful.

Whoever was replaced, as driver, lane or trainer, is refused in all that it says, and nothing changes.
"""

from collections.abc import Callable

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from shared.embedded_redis import EmbeddedRedis
from shared.errors import RegistryError, StaleToken, UserError
from shared.job_state import JobState
from shared.registry import Registry
from shared.registry_facts import DRIVER_DEAD_MS, LaneCounters, StreamPoint, TrainerCounters
from shared.registry_keys import key
from tests.job_model import JobModel
from tests.redis_clock import ClockedRedis
from tests.registry_machine import RegistryMachine, run_machine

ROLES = ("lane-0", "trainer-a", "trainer-b")
"""Who saves a part of each checkpoint."""
OUTPUTS = st.sampled_from(["runs/model", "runs/other"])
BLOCKS = st.sampled_from([0, 2, 4])
STATES = st.sampled_from([*JobState, *[JobState.FINISHED] * 3])
"""What follows the end is rare otherwise."""
SCALES = st.floats(1e-6, 1e6)
TRAINERS = st.builds(TrainerCounters, cursor=st.integers(0, 9), rows=st.integers(0, 90), gap_rows=st.integers(0, 9))
LANES = st.builds(LaneCounters, next_block=st.integers(0, 9), emitted=st.integers(0, 90), satisfied=st.booleans())
POINTS = st.builds(
    lambda lane, trainer, scales, block: StreamPoint(
        9, 3, 10, (lane,), {"a": trainer, "b": TrainerCounters()}, scales, block
    ),
    LANES,
    TRAINERS,
    st.dictionaries(st.just("h"), SCALES),
    st.none() | BLOCKS,
)
NO_STREAM = StreamPoint.fresh(1, 1, 10, 1, [])
DRIVERS_CALLS: list[Callable[[Registry, int], object]] = [
    lambda registry, token: registry.heartbeat_driver(token),
    lambda registry, token: registry.set_state(token, JobState.FAILED, "late"),
    lambda registry, token: registry.claim_role(token, "lane-0"),
    lambda registry, token: registry.begin_stream(token, NO_STREAM),
    lambda registry, token: registry.rewind_lane(token, 0, LaneCounters(next_block=7)),
    lambda registry, token: registry.release_producer(token, "producer-0"),
    lambda registry, token: registry.remove_trainer(token, "a"),
]


class JobMachine(RegistryMachine):
    """A lane and two trainers, under one driver after another."""

    def __init__(self, embedded: EmbeddedRedis, client: ClockedRedis) -> None:
        super().__init__(embedded, client)
        self.model = JobModel("runs/model", self.now_ms)
        self.driver = self.newer(self.registry.claim_job("", "runs/model", resume=False))
        self.old_drivers: list[int] = []
        self.old_roles: list[tuple[str, int]] = []

    def forget_roles(self) -> None:
        self.old_roles += self.model.roles.items()

    @rule(output=OUTPUTS, resume=st.booleans(), waits=st.booleans())
    def claim_job(self, output: str, resume: bool, waits: bool) -> None:
        if waits:
            self.move_clock(max(0, self.model.driver_ms + DRIVER_DEAD_MS - self.now_ms))
        refusal = self.model.refusal(output, resume, self.now_ms)
        if refusal:
            with pytest.raises(UserError, match=refusal):
                self.registry.claim_job("", output, resume)
            return
        self.forget_roles()
        self.old_drivers.append(self.driver)
        self.driver = self.newer(self.registry.claim_job("", output, resume))
        self.model = self.model.resumed(output, self.now_ms) if resume else JobModel(output, self.now_ms)

    @rule()
    def heartbeat_driver(self) -> None:
        self.registry.heartbeat_driver(self.driver)
        self.model.driver_ms = self.now_ms

    @precondition(lambda self: self.old_drivers)
    @rule(data=st.data())
    def driver_that_was_replaced(self, data: st.DataObject) -> None:
        token = data.draw(st.sampled_from(self.old_drivers))
        for call in DRIVERS_CALLS:
            with pytest.raises(StaleToken, match=f"driver token {token} is stale"):
                call(self.registry, token)

    @rule(state=STATES, message=st.sampled_from(["", "why"]), ends=st.none() | TRAINERS)
    def set_state(self, state: JobState, message: str, ends: TrainerCounters | None) -> None:
        said = {"a": ends} if ends else {}
        if not self.model.may_become(state):
            with pytest.raises(RegistryError, match=f"cannot go from {self.model.state} to {state}"):
                self.registry.set_state(self.driver, state, message, said)
            return
        self.registry.set_state(self.driver, state, message, said)
        self.model.state, self.model.message = state, message
        self.model.trainers |= said

    @rule()
    def request_stop(self) -> None:
        assert self.registry.request_stop() == (not self.model.state.is_terminal)
        self.model.stop_requested |= not self.model.state.is_terminal

    @rule(point=POINTS)
    def begin_stream(self, point: StreamPoint) -> None:
        """Roles of before are void, and the driver gives all of them out again."""
        self.newer(self.registry.begin_stream(self.driver, point))
        self.forget_roles()
        self.model.begin_stream(point)
        self.all_agrees()
        for role in ROLES:
            self.claim_role(role)

    @rule(role=st.sampled_from(ROLES))
    def claim_role(self, role: str) -> None:
        if role in self.model.roles:
            self.old_roles.append((role, self.model.roles[role]))
        self.model.claim_role(role, self.newer(self.registry.claim_role(self.driver, role)))

    @rule(name=st.sampled_from(["a", "b"]))
    def remove_trainer(self, name: str) -> None:
        if token := self.model.roles.get(f"trainer-{name}"):
            self.old_roles.append((f"trainer-{name}", token))
        self.registry.remove_trainer(self.driver, name)
        self.model.remove_trainer(name)

    @precondition(lambda self: self.model.roles)
    @rule(data=st.data(), beats=st.lists(st.integers(-1, 1), min_size=1, max_size=3))
    def heartbeat(self, data: st.DataObject, beats: list[int]) -> None:
        """One a second, some of which tell of progress."""
        role = data.draw(st.sampled_from(sorted(self.model.roles)))
        for progress in beats:
            self.move_clock(1000)
            self.registry.heartbeat(role, self.model.roles[role], progress)
            self.model.heartbeat(role, progress, self.now_ms)

    @precondition(lambda self: "lane-0" in self.model.roles)
    @rule(counters=LANES)
    def publish_lane(self, counters: LaneCounters) -> None:
        token = self.model.roles["lane-0"]
        if not self.model.lanes:
            with pytest.raises(RegistryError, match="has no lane 0"):
                self.registry.publish_lane(0, token, counters)
            return
        self.registry.publish_lane(0, token, counters)
        self.model.lanes[0] = self.model.lanes[0].published(counters)

    @precondition(lambda self: self.model.roles.keys() - {"lane-0"})
    @rule(data=st.data(), counters=TRAINERS)
    def publish_trainer(self, data: st.DataObject, counters: TrainerCounters) -> None:
        role = data.draw(st.sampled_from(sorted(self.model.roles.keys() - {"lane-0"})))
        name = role.removeprefix("trainer-")
        self.registry.publish_trainer(name, self.model.roles[role], counters)
        self.model.trainers[name] = counters

    @precondition(lambda self: self.model.roles)
    @rule(data=st.data(), block=BLOCKS)
    def save_part(self, data: st.DataObject, block: int) -> None:
        self.save(data.draw(st.sampled_from(sorted(self.model.roles))), block)

    @precondition(lambda self: len(self.model.roles) == len(ROLES))
    @rule(blocks=st.lists(BLOCKS, min_size=1, max_size=3), roles=st.permutations(ROLES))
    def all_save(self, blocks: list[int], roles: list[str]) -> None:
        """The last one makes it complete, whichever it is, and is told so again when it asks again; it alone."""
        for block in blocks:
            for role in [*roles, *roles]:
                self.save(role, block)

    def save(self, role: str, block: int) -> None:
        is_last = self.registry.save_part(block, role, self.model.roles[role], len(ROLES))
        assert is_last == self.model.save_part(block, role, len(ROLES))

    @precondition(lambda self: self.old_roles)
    @rule(data=st.data(), block=BLOCKS)
    def zombie(self, data: st.DataObject, block: int) -> None:
        role, token = data.draw(st.sampled_from(self.old_roles))
        name = role.removeprefix("trainer-")
        refused = pytest.raises(StaleToken, match=f"{role} token {token} is")
        with refused:
            self.registry.heartbeat(role, token, 5)
        with refused:
            self.registry.save_part(block, role, token, 1)
        with refused:
            if role == "lane-0":
                self.registry.publish_lane(0, token, LaneCounters(next_block=8))
            else:
                self.registry.publish_trainer(name, token, TrainerCounters(cursor=8))

    @rule(below=st.integers(0, 5))
    def forget_checkpoints(self, below: int) -> None:
        self.registry.forget_checkpoints(below)
        self.model.checkpoints = {block for block in self.model.checkpoints if block >= below}
        assert self.registry.completed_checkpoints() == sorted(self.model.checkpoints)

    @rule(hookpoint=st.sampled_from(["h", "i"]), value=SCALES)
    def fix_scale(self, hookpoint: str, value: float) -> None:
        assert self.registry.fix_scale(hookpoint, value) == self.model.scales.setdefault(hookpoint, value)

    @invariant()
    def all_agrees(self) -> None:
        self.model.agrees_with(self.registry.snapshot())
        saved = {f"{block}:{role}" for block, roles in self.model.parts.items() for role in roles}
        assert set(self.client.zrange(key(self.registry.job, "parts"), 0, -1)) == saved  # type: ignore[arg-type]


def test_a_job_behaves_as_the_model() -> None:
    run_machine(JobMachine, 30)
