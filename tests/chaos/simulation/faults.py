"""What goes wrong in a schedule, and when: all drawn from its seed."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from tests.chaos.simulation.ray_of_actors import NETWORK, Actor, RayOfActors
from tests.chaos.simulation.redis_client import Server
from tests.chaos.simulation.world import Process, World

if TYPE_CHECKING:
    from tests.chaos.simulation.schedule import Schedule

LAST_STEP = 1500
"""Faults begin before it; an undisturbed job takes a few hundred steps."""
SOON = 40
"""Steps within which another fault follows one that has company."""


class Faults:
    """Called before each step; `told` says what was done, `hit` whom it was done to."""

    def __init__(self, world: World, ray: RayOfActors, server: Server, schedule: "Schedule") -> None:
        self._world, self._ray, self._server, self._schedule = world, ray, server, schedule
        self.told: list[str] = []
        self.hit: set[str] = set()
        self.silenced: set[str] = set()
        """Of those, who may have been silent for a while."""
        self.over_s = world.now_s
        """When the last one was over."""
        draw = world.random
        self.poison = self._poison() if draw.random() < 0.1 else None
        kinds: list[tuple[int, Callable[[], str]]] = [
            (8, self._kill_actor),
            (4, self._freeze_actor),
            (2, self._kill_driver),
            (2, self._freeze_driver),
            (3, self._stop),
            (2, self._redis_away),
            (1, self._redis_loses_the_last_second),
            (2, self._clock_jumps),
        ]
        weights, acts = zip(*kinds, strict=True)
        num_faults = draw.choice([0, 1, 1, 2, 2, 3]) if self.poison else draw.choice([0, 1, 1, 2, 2, 3, 4, 6])
        steps: list[int] = []
        for _ in range(num_faults):
            follows = bool(steps) and draw.random() < 0.3
            steps.append(steps[-1] + draw.randrange(SOON) if follows else draw.randrange(LAST_STEP))
        self._due = [(step, draw.choices(acts, weights)[0]) for step in sorted(steps)]
        server.loss_of_replies = draw.choice([0.0, 0.0, 0.02])
        self._linger = draw.choice([0.0, 0.0, 0.5])
        ray.lingering_s = self._lingering_s

    def step(self) -> None:
        while self._due and self._world.steps >= self._due[0][0]:
            _, act = self._due.pop(0)
            self.told.append(f"{self._world.steps}: {act()}")
            self._lasts(0.0)

    def _poison(self) -> tuple[int, int]:
        """A unit and the chunk of it at which every producer dies."""
        draw, chunks = self._world.random, self._schedule.small.chunk_rows
        unit = draw.randrange(1, len(chunks))  # the others have a row
        return unit, draw.randrange(len(chunks[unit]))

    def _lasts(self, seconds: float) -> None:
        self.over_s = max(self.over_s, self._world.now_s + seconds)

    def _lingering_s(self) -> float:
        draw = self._world.random
        return draw.choice([0.01, 0.3, 5.0, 40.0]) if draw.random() < self._linger else 0.0

    def _victim(self) -> Actor | None:
        living = self._ray.living()
        kinds = sorted({one.name.partition("-")[0] for one in living})
        if not kinds:
            return None
        kind = self._world.random.choice(kinds)
        found = self._world.random.choice([one for one in living if one.name.startswith(kind)])
        self.hit.add(found.name)
        return found

    def _kill_actor(self) -> str:
        victim = self._victim()
        if victim is None:
            return "nobody to kill"
        self._ray.end(victim, "unexpectedly")
        return f"{victim.name} is killed"

    def _freeze_actor(self) -> str:
        victim = self._victim()
        if victim is None:
            return "nobody to freeze"
        self.silenced.add(victim.name)
        return self._freeze(victim)

    def _freeze(self, victim: Process) -> str:
        seconds = self._world.random.choice([0.5, 3.0, 20.0, 45.0, 100.0])
        self._world.freeze(victim)
        self._world.spawn(NETWORK, self._thaw, victim, seconds)
        self._lasts(seconds)
        return f"{victim.name} is frozen for {seconds} s"

    def _thaw(self, victim: Process, after_s: float) -> None:
        self._world.sleep(after_s)
        self._world.thaw(victim)

    def _kill_driver(self) -> str:
        self._world.kill(self._schedule.driver)
        self._ray.end_all(self._schedule.driver)
        self._schedule.driver_ends()
        return "the driver is killed"

    def _freeze_driver(self) -> str:
        told = self._freeze(self._schedule.driver)
        if self._world.random.random() < 0.5:
            self._schedule.driver_ends()
            return f"{told}, and another one is started"
        return told

    def _stop(self) -> str:
        if self._schedule.watcher is not None:
            self._schedule.watcher.stop_wanted.set()
        return "a stop is asked for"

    def _clock_jumps(self) -> str:
        """The server's alone, as when somebody sets it right."""
        seconds = self._world.random.choice([-3600.0, -20.0, 20.0, 40.0, 3600.0])
        self._server.ahead_s += seconds
        return f"the clock of Redis jumps by {seconds} s"

    def _redis_away(self) -> str:
        seconds = self._world.random.choice([1.0, 5.0, 25.0, 60.0])
        self._server.is_away = True
        self._world.spawn(NETWORK, self._redis_back, seconds)
        self._lasts(seconds)
        return f"Redis is away for {seconds} s"

    def _redis_back(self, after_s: float) -> None:
        self._world.sleep(after_s)
        self._server.is_away = False

    def _redis_loses_the_last_second(self) -> str:
        """Its machine loses power, and with it what the append-only file had not on disk."""
        self._server.remember(self._schedule.job.name)
        self._world.spawn(NETWORK, self._redis_forgets, self._world.random.randrange(1, 60))
        return "from here on Redis will forget all"

    def _redis_forgets(self, after_points: int) -> None:
        for _ in range(after_points):
            self._world.point()
        self._server.is_away = True
        self._server.forget()
        self._schedule.has_forgotten = True
        self._world.sleep(1.0)
        self._server.is_away = False
        self.told.append(f"{self._world.steps}: until here")
        self.hit |= {actor.name for actor in self._ray.actors}
        self.silenced |= self.hit
        self._lasts(0.0)
