"""What stands for `ray` in a world: actors, their concurrency groups, references, objects, names, death.

As in Ray: calls of one caller to one actor arrive in order; an object dies with its owner; a name is free some time
after its actor was killed; a killed actor may go on for a while, unheard; a frozen one never answers; nobody is told of
a death at once; all actors die after their driver.
"""

from collections import deque
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import ray.exceptions
from ray.exceptions import GetTimeoutError, OwnerDiedError, RayActorError

from tests.chaos.simulation.threads import Waiting
from tests.chaos.simulation.world import Process, World

NETWORK = Process("network")
NODE = "0" * 56


class Reference:
    """Of a call's answer, or of an object that `put` stored."""

    def __init__(self) -> None:
        self.is_done = False
        self._value: Any = None
        self._error: BaseException | None = None
        self.waiting: list[Waiting] = []

    def settle(self, value: Any = None, error: BaseException | None = None) -> None:
        if not self.is_done:
            self.is_done, self._value, self._error = True, value, error
            for one in self.waiting:
                one.wake_all()

    def lose(self, error: BaseException) -> None:
        """An object whose owner has died."""
        self._value, self._error = None, error

    def get(self) -> Any:
        if self._error is not None:
            raise self._error
        return self._value


class Group:
    """Calls of one kind: so many at a time, begun in the order in which they came."""

    def __init__(self, num_slots: int) -> None:
        self.num_slots, self.num_running = num_slots, 0
        self.queue: deque[tuple[str, tuple[Any, ...], Reference]] = deque()


class Actor(Process):
    """One actor's process."""

    def __init__(self, kind: type, name: str, groups: dict[str, int], args: tuple[Any, ...], ray: "RayOfActors"):
        super().__init__(name)
        self.owner = World.current.process
        self._kind, self._args, self._ray = kind, args, ray
        self._groups = {group: Group(slots) for group, slots in {**groups, "": 1}.items()}
        self._instance: Any = None
        self.pending: dict[Reference, None] = {}
        self.objects: list[Reference] = []
        self.is_known_dead = False

    def construct(self) -> None:
        try:
            self._instance = self._kind(*self._args)
        except Exception as error:
            kind = f"{type(error).__module__}.{type(error).__name__}"
            self._ray.end(self, f"an error raised in its creation task,\n{kind}: {error}")
            return
        for group in self._groups.values():
            self._start_next(group)

    def receive(self, method: str, args: tuple[Any, ...], answer: Reference) -> None:
        """A call that came over the network."""
        name = getattr(getattr(self._kind, method), "__ray_concurrency_group__", "")
        group = self._groups[name]
        group.queue.append((method, args, answer))
        if self._instance is not None:
            self._start_next(group)

    def _start_next(self, group: Group) -> None:
        while group.queue and group.num_running < group.num_slots:
            group.num_running += 1
            World.current.spawn(self, self._execute, group, *group.queue.popleft(), name=self.name)

    def _execute(self, group: Group, method: str, args: tuple[Any, ...], answer: Reference) -> None:
        value, error = None, None
        try:
            value = getattr(self._instance, method)(*args)
        except Exception as raised:
            error = raised
        group.num_running -= 1
        self._start_next(group)
        World.current.point()
        self.pending.pop(answer, None)
        answer.settle(value, error)


class Method:
    def __init__(self, ray: "RayOfActors", actor: Actor, name: str) -> None:
        self._ray, self._actor, self._name = ray, actor, name

    def remote(self, *args: Any) -> Reference:
        return self._ray.call(self._actor, self._name, args)


class Handle:
    def __init__(self, ray: "RayOfActors", actor: Actor) -> None:
        self._ray, self.actor = ray, actor

    def __getattr__(self, name: str) -> Method:
        return Method(self._ray, self.actor, name)


class RemoteClass:
    """`ray.remote(...)(Class)`, then `.options(...)`, then `.remote(...)`."""

    def __init__(self, ray: "RayOfActors", kind: type, groups: dict[str, int], name: str = "") -> None:
        self._ray, self._kind, self._groups, self._name = ray, kind, groups, name

    def options(self, name: str, **more: Any) -> "RemoteClass":
        return RemoteClass(self._ray, self._kind, self._groups, name)

    def remote(self, *args: Any) -> Handle:
        return self._ray.launch(self._kind, self._name, self._groups, args)


class RayOfActors:
    """One Ray cluster with one driver after another on it."""

    exceptions = ray.exceptions

    def __init__(self) -> None:
        self._names: dict[str, Actor] = {}
        self.actors: list[Actor] = []
        """All that ever were, oldest first."""
        self._channels: dict[tuple[Process, Actor], deque[tuple[str, tuple[Any, ...], Reference]]] = {}
        self.lingering_s: Callable[[], float] = lambda: 0.0
        """How long an actor that is being killed goes on."""
        self._pushes: dict[Process, list[Reference]] = {}
        self.most_unanswered = 0
        """Pushes that one producer had waiting at the same time."""

    def living(self) -> list[Actor]:
        return [actor for actor in self.actors if actor.is_alive and not actor.is_known_dead]

    def remote(self, kind: type | None = None, *, concurrency_groups: dict[str, int] | None = None) -> Any:
        if kind is not None:
            return RemoteClass(self, kind, {})
        return lambda later: RemoteClass(self, later, concurrency_groups or {})

    def launch(self, kind: type, name: str, groups: dict[str, int], args: tuple[Any, ...]) -> Handle:
        World.current.point()
        if name in self._names:
            raise ValueError(f"the name {name} is taken")
        actor = self._names[name] = Actor(kind, name, groups, args, self)
        self.actors.append(actor)
        World.current.spawn(actor, actor.construct, name=name)
        return Handle(self, actor)

    def get_actor(self, name: str) -> Handle:
        World.current.point()
        if name not in self._names:
            raise ValueError(f"there is no actor named {name}")
        return Handle(self, self._names[name])

    def call(self, actor: Actor, method: str, args: tuple[Any, ...]) -> Reference:
        answer = Reference()
        if method == "push":
            self._count_push(answer)
        actor.pending[answer] = None
        channel = self._channels.setdefault((World.current.process, actor), deque())
        channel.append((method, args, answer))
        World.current.spawn(NETWORK, self._deliver, actor, channel)
        World.current.point()
        return answer

    def _count_push(self, answer: Reference) -> None:
        pusher = World.current.process
        unanswered = [one for one in self._pushes.get(pusher, []) if not one.is_done] + [answer]
        self._pushes[pusher] = unanswered
        self.most_unanswered = max(self.most_unanswered, len(unanswered))

    def _deliver(self, actor: Actor, channel: deque[tuple[str, tuple[Any, ...], Reference]]) -> None:
        method, args, answer = channel.popleft()
        if actor.is_known_dead:
            answer.settle(error=_death(actor, "unexpectedly"))
        elif actor.is_alive:
            actor.receive(method, args, answer)

    def put(self, value: Any) -> Reference:
        World.current.point()
        found, owner = Reference(), World.current.process
        found.settle(_copied(value))
        if isinstance(owner, Actor):
            owner.objects.append(found)
        return found

    def get(self, reference: Reference, timeout: float = 60.0) -> Any:
        self.wait([reference], num_returns=1, timeout=timeout)
        if not reference.is_done:
            raise GetTimeoutError(f"no answer in {timeout} s")
        return reference.get()

    def wait(
        self, references: list[Reference], num_returns: int, timeout: float, fetch_local: bool = True
    ) -> tuple[list[Reference], list[Reference]]:
        world, changed = World.current, Waiting()
        world.point()
        deadline = world.now_s + timeout
        for one in references:
            one.waiting.append(changed)
        while sum(one.is_done for one in references) < num_returns:
            if not changed.wait(deadline - world.now_s):
                break
        for one in references:
            one.waiting.remove(changed)
        done = [one for one in references if one.is_done][:num_returns]
        return done, [one for one in references if one not in done]

    def kill(self, handle: Handle) -> None:
        World.current.point()
        self.end(handle.actor, "ray.kill", self.lingering_s())

    def end(self, actor: Actor, reason: str, lingering_s: float = 0.0) -> None:
        """Its process ends, after `lingering_s`; the others are told at some time."""
        World.current.spawn(NETWORK, self._notify, actor, reason)
        if lingering_s:
            World.current.spawn(NETWORK, self._end_later, actor, lingering_s)
        else:
            World.current.kill(actor)

    def end_all(self, driver: Process) -> None:
        """Those of a driver that has ended."""
        for actor in self.living():
            if actor.owner is driver:
                self.end(actor, "its owner has died", self.lingering_s())

    def get_runtime_context(self) -> "RayOfActors":
        return self

    def get_node_id(self) -> str:
        return NODE

    def _end_later(self, actor: Actor, after_s: float) -> None:
        World.current.sleep(after_s)
        World.current.kill(actor)

    def _notify(self, actor: Actor, reason: str) -> None:
        world = World.current
        world.sleep(world.random.choice([0.0, 0.0, 0.02, 1.0]))
        actor.is_known_dead = True
        if self._names.get(actor.name) is actor:
            del self._names[actor.name]
        world.point()
        for answer in list(actor.pending):
            answer.settle(error=_death(actor, reason))
        actor.pending.clear()
        for one in actor.objects:
            one.lose(OwnerDiedError("0", b"", ""))


def _copied(table: pa.Table) -> pa.Table:
    """What is stored is read from a store's memory, not from its maker's."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return pa.ipc.open_stream(sink.getvalue()).read_all()


def _death(actor: Actor, reason: str) -> RayActorError:
    return RayActorError(None, f"The actor {actor.name} died: {reason}")
