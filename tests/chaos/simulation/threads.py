"""What stands for `threading`, `queue`, `time` and a pool of one thread in a world."""

import queue
from collections import deque
from collections.abc import Callable
from typing import Any

from tests.chaos.simulation.world import Task, World

Empty, Full = queue.Empty, queue.Full


class Waiting:
    """Tasks that wait for one thing."""

    def __init__(self) -> None:
        self._tasks: deque[Task] = deque()

    def wait(self, timeout_s: float | None = None) -> bool:
        """False when the time was up."""
        world = World.current
        task = world.task
        self._tasks.append(task)
        if world.wait(timeout_s) or task not in self._tasks:  # woken just after its time was up
            return True
        self._tasks.remove(task)
        return False

    def wake_all(self) -> None:
        while self._tasks:
            World.current.wake(self._tasks.popleft())


class Condition:
    """With the lock that it holds; a task may take it again while it has it."""

    def __init__(self) -> None:
        self._owner: Task | None = None
        self._depth = 0
        self._for_lock, self._for_notice = Waiting(), Waiting()

    def __enter__(self) -> bool:
        world = World.current
        world.point()
        task = world._task
        while self._owner is not None and self._owner is not task:
            self._for_lock.wait()
        self._owner, self._depth = task, self._depth + 1
        return True

    def __exit__(self, *error: object) -> None:
        self._depth -= 1
        if not self._depth:
            self._owner = None
            self._for_lock.wake_all()

    def wait(self, timeout: float | None = None) -> bool:
        depth, self._depth, self._owner = self._depth, 0, None
        self._for_lock.wake_all()
        woken = self._for_notice.wait(timeout)
        while self._owner is not None:
            self._for_lock.wait()
        self._owner, self._depth = World.current.task, depth
        return woken

    def notify_all(self) -> None:
        self._for_notice.wake_all()


Lock = Condition


class Event:
    def __init__(self) -> None:
        self._is_set = False
        self._waiting = Waiting()

    def is_set(self) -> bool:
        return self._is_set

    def set(self) -> None:
        self._is_set = True
        self._waiting.wake_all()

    def wait(self, timeout: float | None = None) -> bool:
        if not self._is_set:
            self._waiting.wait(timeout)
        return self._is_set


class Thread:
    """Of the process that starts it."""

    def __init__(
        self,
        target: Callable[..., Any],
        args: tuple[Any, ...] = (),
        name: str = "",
        daemon: bool = False,
    ) -> None:
        self._target, self._args, self._name = target, args, name
        self._ended, self._is_started = Event(), False

    def start(self) -> None:
        self._is_started = True
        World.current.spawn(World.current.process, self._run, name=self._name)

    def is_alive(self) -> bool:
        return self._is_started and not self._ended.is_set()

    def join(self, timeout: float | None = None) -> None:
        self._ended.wait(timeout)

    def _run(self) -> None:
        try:
            self._target(*self._args)
        finally:
            self._ended.set()


class Queue:
    def __init__(self, maxsize: int = 0) -> None:
        self._items: deque[Any] = deque()
        self._maxsize = maxsize
        self._changed = Waiting()

    def get(self, timeout: float) -> Any:
        self._until(lambda: bool(self._items), timeout, Empty)
        item = self._items.popleft()
        self._changed.wake_all()
        return item

    def put(self, item: Any, timeout: float) -> None:
        self._until(lambda: len(self._items) < self._maxsize, timeout, Full)
        self._items.append(item)
        self._changed.wake_all()

    def _until(self, is_so: Callable[[], bool], timeout_s: float, error: type[Exception]) -> None:
        World.current.point()
        deadline = World.current.now_s + timeout_s
        while not is_so():
            if not self._changed.wait(deadline - World.current.now_s) and not is_so():
                raise error


class Future:
    def __init__(self) -> None:
        self._value: Any = None
        self._error: BaseException | None = None
        self._done = Event()

    def result(self) -> Any:
        self._done.wait()
        if self._error is not None:
            raise self._error
        return self._value

    def _run(self, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
        try:
            self._value = function(*args)
        except Exception as error:
            self._error = error
        self._done.set()


class ThreadPoolExecutor:
    """Of one thread, as `producers.prefetch` has it: never asked for more than one thing at a time."""

    def __init__(self, max_workers: int, thread_name_prefix: str = "") -> None:
        assert max_workers == 1
        self._name = thread_name_prefix

    def submit(self, function: Callable[..., Any], *args: Any) -> Future:
        future = Future()
        Thread(future._run, (function, args), name=self._name).start()
        return future

    def shutdown(self, wait: bool = True, cancel_futures: bool = False) -> None:
        """Nothing waits in it."""


def monotonic() -> float:
    return World.current.now_s


perf_counter = monotonic


def sleep(seconds: float) -> None:
    World.current.sleep(seconds)
