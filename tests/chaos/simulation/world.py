"""The scheduler: tasks of processes, one at a time, on a clock that moves when nobody can go on.

A task is a greenlet. It runs until it comes to a point, then any task that can go on may be next.
"""

import heapq
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random
from typing import Any

from greenlet import GreenletExit, getcurrent, greenlet


class Stuck(AssertionError):
    """The schedule took too long: somebody waits for what will not come, or goes in circles."""


class Process:
    """What dies, or freezes, as a whole."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_alive = True
        self.is_frozen = False
        self.held: list[Task] = []
        """Tasks that could go on but for being frozen."""

    def __repr__(self) -> str:
        return self.name


class Task:
    """One thread of a process."""

    def __init__(self, process: Process, body: Callable[[], Any], name: str, hub: greenlet) -> None:
        self.process, self.name = process, name
        self.greenlet = greenlet(body, hub)
        self.wait_number = 0
        """Of its newest wait, so that a timer of an older one wakes nobody."""
        self.is_waiting = False
        self.timed_out = False


class World:
    """One schedule, from its seed."""

    current: "World"

    def __init__(self, seed: int, max_steps: int = 400_000) -> None:
        self.random = Random(seed)
        self.now_s = 1_000_000.0
        self.steps = 0
        self.max_steps = max_steps
        self.is_closed = False
        self.errors: list[BaseException] = []
        """What ended a task and nobody saw."""
        self.hooks: list[Callable[[], None]] = []
        """Called before each step."""
        self._runnable: list[Task] = []
        self._timers: list[tuple[float, int, Task, int]] = []
        self._numbers = itertools.count()
        self._tasks: list[Task] = []
        self._task: Task | None = None
        self._hub = getcurrent()
        self.haste = self.random.choice([0.0, 0.0, 0.3, 0.8])
        """How likely the task that came to a point goes on, rather than any other."""

    @property
    def process(self) -> Process:
        """Of the task that runs now."""
        assert self._task is not None
        return self._task.process

    @property
    def task(self) -> Task:
        assert self._task is not None
        return self._task

    def spawn(self, process: Process, function: Callable[..., Any], *args: Any, name: str = "") -> Task:
        """A new task of `process`; an exception that ends it is kept in `errors`."""

        def body() -> None:
            try:
                function(*args)
            except GreenletExit:
                pass
            except BaseException as error:
                self.errors.append(error)

        task = Task(process, body, name, self._hub)
        self._tasks.append(task)
        self._runnable.append(task)
        return task

    def point(self) -> None:
        """Somebody else may go on here."""
        self._check()
        if self._task is None:
            return
        can_go_on = self._task.process.is_alive and not self._task.process.is_frozen
        if self.haste and can_go_on and self.random.random() < self.haste:
            return
        self._runnable.append(self._task)
        self._switch()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Until `wake`; False when the time was up before."""
        self._check()
        task = self.task
        task.wait_number += 1
        task.is_waiting, task.timed_out = True, False
        if timeout_s is not None:
            deadline = self.now_s + max(0.0, timeout_s)
            heapq.heappush(self._timers, (deadline, next(self._numbers), task, task.wait_number))
        self._switch()
        return not task.timed_out

    def wake(self, task: Task) -> None:
        if task.is_waiting:
            task.is_waiting = False
            self._runnable.append(task)

    def sleep(self, seconds: float) -> None:
        if self._task is not None:
            self.wait(seconds)

    def freeze(self, process: Process) -> None:
        process.is_frozen = True

    def thaw(self, process: Process) -> None:
        process.is_frozen = False
        self._runnable += process.held
        process.held = []

    def kill(self, process: Process) -> None:
        """None of its tasks goes on from here; nothing in it is cleaned up."""
        process.is_alive = False
        if self._task is not None and self._task.process is process:
            self._switch()

    def run(self, done: Callable[[], bool]) -> None:
        """Steps until `done`. Raises Stuck when there are too many."""
        while not done():
            for hook in self.hooks:
                hook()
            if not self._step():
                raise Stuck("nobody can ever go on")
            if self.steps > self.max_steps:
                raise Stuck(f"{self.steps} steps and no end")

    def close(self) -> None:
        """Ends all tasks; whatever they clean up finds a world that is gone."""
        self.is_closed = True
        for task in self._tasks:
            while not task.greenlet.dead:
                task.greenlet.throw(GreenletExit)

    def _check(self) -> None:
        if self.is_closed:
            raise GreenletExit

    def _step(self) -> bool:
        """One task goes on to its next point; the clock moves on when none can."""
        while True:
            if not self._runnable:
                if not self._next_timer():
                    return False
                continue
            index = int(self.random.random() * len(self._runnable))
            task = self._runnable[index]
            self._runnable[index] = self._runnable[-1]
            self._runnable.pop()
            if not task.process.is_alive:
                continue
            if task.process.is_frozen:
                task.process.held.append(task)
                continue
            self.steps += 1
            self._task = task
            task.greenlet.switch()
            self._task = None
            return True

    def _next_timer(self) -> bool:
        while self._timers:
            deadline, _, task, number = heapq.heappop(self._timers)
            if task.is_waiting and task.wait_number == number and task.process.is_alive:
                self.now_s = max(self.now_s, deadline)
                task.timed_out = True
                self.wake(task)
                return True
        return False

    def _switch(self) -> None:
        self._hub.switch()
        self._check()


@contextmanager
def world(seed: int) -> Iterator[World]:
    """A new world, for as long as the block runs."""
    World.current = found = World(seed)
    try:
        yield found
    finally:
        found.close()
