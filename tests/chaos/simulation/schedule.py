"""One schedule: a small job, some faults at some moments, and what must be true whatever happens."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import redis

from cluster import checkpoints
from cluster.controller import Controller, Outcome
from cluster.crew import Crew
from cluster.patience import PatientRegistry, patiently
from cluster.placement import wanted
from cluster.watcher import Watcher
from shared.errors import HeadraceError, JobFailed, RegistryUnreachable, StaleToken, UserError
from shared.job_state import JobState
from shared.ledger import ledger
from shared.registry_facts import TrainerCounters
from shared.registry_keys import job_keys
from shared.registry_snapshot import Snapshot
from shared.row_table import Rows
from tests.chaos.simulation.bounds import Bounds
from tests.chaos.simulation.faults import Faults
from tests.chaos.simulation.lane_inside import lanes_of
from tests.chaos.simulation.patches import patched
from tests.chaos.simulation.ray_of_actors import RayOfActors
from tests.chaos.simulation.redis_client import Server, WorldAddress
from tests.chaos.simulation.small_job import HOOKPOINT, SmallJob, small_job
from tests.chaos.simulation.threads import Event
from tests.chaos.simulation.world import Process, Stuck, World, world

NUM_JOBS = 200
CALM_S = 900.0
"""Of the world's clock, in which a job must end when nothing happens to it any more."""
FORGOTTEN = "there is no job named"
"""Of a driver whose Redis forgot the second in which the job began."""
MAX_UNANSWERED = 2
"""Pushes of one producer: the lane's answer is the credit for the next."""
STEPS_A_LOOK = 100
"""An outsider looks at the registry so often, at moments that the seed draws, between any two steps."""


class Blind:
    """What stands for the display."""

    def update(self, snapshot: Snapshot) -> None: ...

    def event(self, event: Any) -> None: ...


class SmallWatcher(Watcher):
    """The driver's, that files nothing; has every look judged."""

    told: "list[tuple[str, str]]"
    judge: "Callable[[Snapshot], None]"

    def event(self, kind: str, message: str) -> None:
        self.told.append((kind, message))

    def look(self) -> Snapshot | None:
        snapshot = super().look()
        if snapshot is not None:
            self.judge(snapshot)
        return snapshot

    def _pass_over_what_was(self) -> None: ...

    def _collect(self) -> None: ...


@dataclass
class Report:
    """What happened in a schedule."""

    seed: int
    steps: int = 0
    seconds: float = 0.0
    num_drivers: int = 0
    faults: list[str] = field(default_factory=list)
    told: list[tuple[str, str]] = field(default_factory=list)


class Schedule:
    """The user of one job, who goes on until it is finished."""

    def __init__(self, seed: int, world: World, ray: RayOfActors, server: Server, folder: Path) -> None:
        self._world, self._ray, self._server, self._folder = world, ray, server, folder
        self.small: SmallJob = small_job(seed % NUM_JOBS)
        job = self.small.job
        self.job = job.model_copy(update={"output": str(folder), "name": f"small-{seed}"})
        self.report = Report(seed)
        self.imbalances: list[str] = []
        self._bounds, self.breaches = Bounds(self.small), list[str]()
        self.user, self.driver = Process("user"), Process("driver")
        self.watcher: SmallWatcher | None = None
        self.is_finished = self.is_checked = self.has_forgotten = False
        self.faults = Faults(world, ray, server, self)
        self.poison = self.faults.poison
        self._expected = self.small.blocks(self._without) if self._is_known else []
        self._seen: dict[tuple[int, int], Rows | None] = {}
        self._address = WorldAddress(server)
        self._changed = Event()
        self._looks = Random(seed)

    @property
    def _without(self) -> tuple[int, ...]:
        return (self.poison[0],) if self.poison else ()

    @property
    def _is_known(self) -> bool:
        """What all must read; of a unit that is set aside, the rows before the fatal chunk may be in or not."""
        return self.poison is None or self.poison[1] == 0

    def run(self) -> Report:
        """Raises AssertionError for anything that must not be."""
        self._world.spawn(self.user, self._use, name="user")
        self._world.hooks += [self.faults.step, self._check_patience, self._look]
        try:
            self._world.run(lambda: self.is_checked or bool(self._world.errors))
        finally:
            self.report.steps, self.report.seconds = self._world.steps, self._world.now_s - 1_000_000.0
            self.report.faults = self.faults.told
        if self._world.errors:
            raise self._world.errors[0]
        return self.report

    def check_read(self, trainer: str, block: int, rows: Rows | None) -> None:
        """`trainer` reads block `block`: what the job fixes, or else what others read in the same stream."""
        seat = self._world.process._args[0]  # type: ignore[attr-defined]
        expected = self._expected[block] if self._is_known else self._seen.setdefault((seat.stream, block), rows)
        if rows is None or expected is None:
            is_right = rows is None and expected is None
        else:
            is_right = np.array_equal(rows.addresses, expected.addresses) and np.array_equal(
                rows.activations[HOOKPOINT], expected.activations[HOOKPOINT]
            )
        if not is_right:
            self._world.errors.append(AssertionError(f"{trainer} reads another block {block} than there is"))

    def check_gap(self, trainer: str, block: int, gap_rows: int) -> None:
        """`trainer` passes over block `block`: only who yields may, and no more rows than were in it."""
        seat = self._world.process._args[0]  # type: ignore[attr-defined]
        there = self._expected[block] if self._is_known else self._seen.get((seat.stream, block))
        is_right = gap_rows == self.job.stream.block_rows if there is None else gap_rows == there.num_rows
        if trainer not in self.small.yielding or not is_right or (self._is_known and there is None):
            self._world.errors.append(AssertionError(f"{trainer} passes over {gap_rows} rows of block {block}"))

    def _look(self) -> None:
        """As `headrace ledger` does, which nobody's turn protects."""
        if self._looks.random() * STEPS_A_LOOK > 1:
            return
        snapshot = self._server.snapshot(self.job.name)
        if snapshot is not None:
            self._judge(snapshot)
        for lane in lanes_of(self._ray):
            self.breaches += self._at_this_step(self._bounds.breaches(lane.index, lane.holds()))
            if self._is_known:
                self.breaches += self._at_this_step(lane.mismeasured(self._expected))
            if not self.faults.hit:  # who is made anew goes back, maybe farther than the log does
                self.breaches += self._at_this_step(lane.dropped_unread())

    def _judge(self, snapshot: Snapshot) -> None:
        """What the registry says of one moment."""
        self.imbalances += self._at_this_step(ledger(snapshot).imbalances())
        for number, lane in enumerate(snapshot.lanes):
            self.breaches += self._at_this_step(self._bounds.breaches(number, lane.counters))

    def _at_this_step(self, sentences: list[str]) -> list[str]:
        return [f"step {self._world.steps}: {one}" for one in sentences]

    def _check_patience(self) -> None:
        if self._world.now_s > self.faults.over_s + CALM_S:
            raise Stuck(f"for {CALM_S:.0f} s nothing has happened to it, and it has not ended")

    def die_of_poison(self) -> None:
        actor = self._world.process
        self.faults.hit.add(actor.name)
        self._ray.end(actor, "unexpectedly")  # type: ignore[arg-type]

    def driver_ends(self) -> None:
        """The driver's process is gone, in whatever way."""
        self._changed.set()

    def _use(self) -> None:
        """Types `run`, and then `resume` for as long as it takes."""
        is_first = True
        while not self.is_finished:
            self._changed = Event()
            self.driver = Process("driver")
            self.report.num_drivers += 1
            assert self.report.num_drivers < 40, "the job never ends"
            self._world.spawn(self.driver, self._drive, not is_first, self.driver, name="driver")
            self._changed.wait()
            is_first = False
        self._check_end()
        self.is_checked = True

    def _drive(self, resume: bool, process: Process) -> None:
        """As `run_job` does."""
        outcome: Outcome | None = None
        try:
            outcome = self._driven(resume)
        except UserError as error:
            if "is finished" in str(error):
                outcome = Outcome.FINISHED  # and its driver was ended before it could say so
            elif "already running" in str(error):
                self.report.num_drivers -= 1  # it drove nothing, and may have to ask for as long as the job lasts
            else:
                raise
            self._world.sleep(5.0)
        except (StaleToken, RegistryUnreachable):
            self._world.sleep(5.0)
        except JobFailed as error:
            if FORGOTTEN not in str(error):
                raise
            self._world.sleep(5.0)
        except HeadraceError:
            if self.driver is process:
                raise
        if outcome is Outcome.FINISHED:
            self.is_finished = True
        self._ray.end_all(process)
        if self.driver is process:
            self._changed.set()
        self._world.kill(process)

    def _driven(self, resume: bool) -> Outcome:
        token = self._address.registry(self.job.name).claim_job("", str(self._folder), resume)
        checkpoint = checkpoints.newest(self._folder) if resume else None
        watcher = SmallWatcher.__new__(SmallWatcher)
        watcher.told, watcher.judge = self.report.told, self._judge
        watcher.__init__(self._address.registry(self.job.name), token, self._folder, Blind(), None)  # type: ignore[misc]
        self.watcher = watcher
        within_s = self.job.checkpoint.stop_within_s
        registry = PatientRegistry(
            self._address.connect(), self.job.name, lambda: watcher.stop_wanted.lasts_s() <= within_s
        )
        crew = Crew(self.job, self._folder, registry, token, self._address, self.small.prepared, wanted(self.job))  # type: ignore[arg-type]
        try:
            controller = Controller(self.job, self._folder, registry, token, self.small.prepared, crew, watcher)
            outcome = controller.run(checkpoint)
        except RegistryUnreachable as error:
            raise AssertionError(f"the job ended because Redis was away: {error}") from error
        finally:
            crew.remove_all()
        registry.set_state(token, outcome.state, controller.unsaved, controller.ends)
        watcher._ending.set()
        return outcome

    def _check_end(self) -> None:
        assert self._ray.most_unanswered <= MAX_UNANSWERED, f"{self._ray.most_unanswered} pushes were unanswered"
        assert self.imbalances == [] or self.has_forgotten, self.imbalances[0]
        assert self.breaches == [], self.breaches[0]
        snapshot = patiently(self._address.registry(self.job.name).snapshot)
        assert snapshot.job.state is JobState.FINISHED, snapshot.job.state
        assert ledger(snapshot).imbalances() == [] or self.has_forgotten  # units' sizes that it lost stay unknown
        dead = tuple(one.unit for one in snapshot.units.dead)
        assert dead in ((), self._without), f"units {dead} were set aside"
        for name, one in snapshot.trainers.items():
            self._check_trainer(name, one, self._without if dead else ())
        whole = {(one.address_digest, one.bits_digest) for one in snapshot.trainers.values() if not one.gap_rows}
        assert len(snapshot.trainers) == len(self.job.trainers) and len(whole) <= 1
        for kind, message in self.report.told:
            if kind.endswith("-died") and "no longer holds" not in message:
                guilty = self.faults.silenced if "was silent" in message else self.faults.hit
                assert message.partition(" ")[0] in guilty, f"nothing was done to it: {message}"

    def _check_trainer(self, name: str, said: TrainerCounters, without: tuple[int, ...]) -> None:
        """It has read all, but for what it passed over because it yields, and that is written down."""
        saved = json.loads((self._folder / "saes" / name / "weights.json").read_text())
        digest, gaps = tuple(saved["digest"]), saved["gaps"]
        assert said.state == "finished" and digest == (said.address_digest, said.bits_digest)
        assert said.gap_rows == len(gaps) * self.job.stream.block_rows
        assert name in self.small.yielding or not gaps, f"{name} passed over {gaps} and may not"
        if self._is_known:
            assert said.rows + said.gap_rows == sum(block.num_rows for block in self._expected if block is not None)
            assert digest == self.small.digest(without, frozenset(gaps))


def run_schedule(seed: int, client: redis.Redis, folder: Path) -> Report:
    """The schedule of `seed`; its files lie in `folder`, which must not exist, and go at its end."""
    ray, server = RayOfActors(), Server(client)
    with world(seed) as one:
        schedule = Schedule(seed, one, ray, server, folder)
        one.plan = schedule  # type: ignore[attr-defined]
        try:
            with patched(ray):
                try:
                    return schedule.run()
                finally:
                    one.close()
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            client.delete(*job_keys(schedule.job.name))
            server.release()
