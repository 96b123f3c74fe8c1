"""The actors of a running job: started, named, watched by the references of their `run` calls, ended."""

import logging
import shutil
import time
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.actor import ActorHandle
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cluster.checkpoints import Checkpoint
from cluster.evaluator_actor import EVALUATOR, EvaluatorActor
from cluster.lane_actor import LaneActor, LaneStart
from cluster.placement import Reservation
from cluster.preparation import Prepared
from cluster.producer_actor import ProducerActor
from cluster.seat import SPOOL, Seat
from cluster.trainer_actor import TrainerActor
from shared.config import Job
from shared.errors import JobFailed, LaneClosed
from shared.registry import Registry
from shared.registry_connection import RegistryAddress
from shared.trainer_config import TrainerConfig

log = logging.getLogger(__name__)
NAME_TRIES, NAME_WAIT_S = 300, 0.1
"""The name of an actor that was killed is free again soon after. Tries are counted: a driver may freeze between two."""
ANSWER_S = 2.0
"""An actor that does not answer in this time is asked again: the driver has more to do than to wait for one."""
ENDING_S = 10.0


@dataclass(frozen=True)
class Member:
    """An actor in its role."""

    role: str
    actor: ActorHandle
    run: ray.ObjectRef
    started_s: float
    """On the monotonic clock."""
    checkpoint: int | None
    """The block of what it is made from; None begins anew."""


class Crew:
    """Who works on the job. Every actor is ours alone: it dies with this process, and Ray never restarts it."""

    def __init__(
        self,
        job: Job,
        run_folder: Path,
        registry: Registry,
        token: int,
        address: RegistryAddress,
        prepared: Prepared,
        reservations: dict[str, Reservation],
    ) -> None:
        self._job, self._run_folder, self._registry, self._token = job, run_folder, registry, token
        self._address, self._prepared, self._reservations = address, prepared, reservations
        self._members: dict[str, Member] = {}
        self._spool_folders: list[Path] = []
        """Of all lanes that were started here."""
        self.stream = 0
        """The one that whoever is started works on."""

    @property
    def members(self) -> dict[str, Member]:
        return dict(self._members)

    def being_restored(self, heard: Collection[str]) -> set[int]:
        """Blocks of the checkpoints that members may still be reading: those that are not among the roles `heard`."""
        members = self._members.items()
        return {it.checkpoint for role, it in members if role not in heard and it.checkpoint is not None}

    def lanes(self) -> list[ActorHandle]:
        return self._actors("lane-")

    def trainers(self) -> list[ActorHandle]:
        return self._actors("trainer-")

    def start_lane(
        self, index: int, checkpoint: Checkpoint | None, cursors: dict[str, int], oldest_lease: int | None = None
    ) -> None:
        """A new actor for a lane, going on from `checkpoint`; readers stand at `cursors`.

        It refuses leases older than `oldest_lease`, or than its own token: their units are leased anew.
        A checkpoint that is damaged shows as the death of the actor.
        """
        role = f"lane-{index}"
        groups = {
            "run": 1,
            "push": 4 * self._job.producers.count + 4,
            "fetch": 2 * len(self._job.trainers) + 2,
            "control": 2,
        }
        left = list((self._run_folder / SPOOL).glob(f"{role}@*"))
        seat = self._seat(role)  # refused, if another driver has the job: what was found before is no lane's of its own
        for folder in left:
            shutil.rmtree(folder, ignore_errors=True)
        self._spool_folders.append(seat.spool_folder)
        begin = LaneStart(
            cursors,
            seat.token if oldest_lease is None else oldest_lease,
            checkpoint.part(role) if checkpoint else None,
            checkpoint.block if checkpoint else 0,
        )
        actor = self._launch(
            LaneActor,
            role,
            groups,
            seat,
            index,
            self._prepared.row_format,
            self._prepared.plan.lane,
            self._prepared.num_units,
            begin,
        )
        self._enlist(role, actor, checkpoint.block if checkpoint else None)

    def start_trainer(self, config: TrainerConfig, restore_from: Path | None) -> None:
        """A new actor for a trainer, going on from what it saved at `restore_from`."""
        role = f"trainer-{config.name}"
        seat = self._seat(role)
        actor = self._launch(
            TrainerActor,
            role,
            {"run": 1, "control": 1},
            seat,
            config,
            self._prepared.row_format,
            restore_from,
            self._prepared.corpus_facts,
        )
        self._enlist(role, actor, int(restore_from.parent.name) if restore_from else None)

    def start_producer(self, index: int) -> None:
        """A new actor for a producer."""
        role = f"producer-{index}"
        self._enlist(role, self._launch(ProducerActor, role, {}, self._seat(role), self._prepared.fingerprint))

    def start_evaluator(self) -> None:
        """A new actor that measures checkpoints on held-out text."""
        prepared = self._prepared
        actor = self._launch(
            EvaluatorActor, EVALUATOR, {}, self._seat(EVALUATOR), prepared.fingerprint, prepared.row_format.dtype
        )
        self._enlist(EVALUATOR, actor)

    def ended(self, timeout_s: float) -> list[Member]:
        """Members whose `run` has ended or failed; waits up to `timeout_s` for the first."""
        by_reference = {member.run: member for member in self._members.values()}
        if not by_reference:
            time.sleep(timeout_s)
            return []
        done, _ = ray.wait(list(by_reference), num_returns=1, timeout=timeout_s, fetch_local=False)
        if done:
            done, _ = ray.wait(list(by_reference), num_returns=len(by_reference), timeout=0, fetch_local=False)
        return [by_reference[reference] for reference in done]

    def remove(self, role: str) -> None:
        """End the actor of `role`, if it has one."""
        member = self._members.pop(role, None)
        if member is not None:
            ray.kill(member.actor)

    def remove_all(self) -> None:
        """End all actors, and wait until they have ended: one that still leased units would keep them from its heir."""
        runs = [member.run for member in self._members.values()]
        for role in list(self._members):
            self.remove(role)
        if runs:
            ray.wait(runs, num_returns=len(runs), timeout=ENDING_S, fetch_local=False)

    def drop_spools(self) -> None:
        """Deletes what lanes of ours, which have ended, put on disk; those of a driver after us may spool beside it."""
        for folder in self._spool_folders:
            shutil.rmtree(folder, ignore_errors=True)
        with suppress(OSError):  # there is none, or it is not empty
            (self._run_folder / SPOOL).rmdir()

    def ask(self, actors: list[ActorHandle], method: str) -> list[Any]:
        """The answers of `method` on each; None of one that has died, which `ended` sees, or that does not answer."""
        calls = [getattr(actor, method).remote() for actor in actors]
        deadline, answers = time.monotonic() + ANSWER_S, []
        for call in calls:
            try:
                answers.append(ray.get(call, timeout=max(0.0, deadline - time.monotonic())))
            except (ray.exceptions.RayError, LaneClosed):
                answers.append(None)
        return answers

    def tell(self, actors: list[ActorHandle], method: str, *args: Any) -> None:
        """Calls `method` on each and waits for no answer: an actor that is still starting will hear it."""
        for actor in actors:
            getattr(actor, method).remote(*args)

    def _actors(self, prefix: str) -> list[ActorHandle]:
        return [member.actor for role, member in sorted(self._members.items()) if role.startswith(prefix)]

    def _seat(self, role: str) -> Seat:
        token = self._registry.claim_role(self._token, role)
        return Seat(self._job, role, token, self.stream, self._address, self._run_folder, Path.cwd())

    def _launch(self, kind: type, role: str, groups: dict[str, int], *args: Any) -> ActorHandle:
        reserved = self._reservations[role]
        options = {
            "name": role,
            "num_cpus": reserved.cpus,
            "num_gpus": reserved.gpus,
            "max_restarts": 0,
            "max_task_retries": 0,
            "scheduling_strategy": self._strategy(role),
        }
        remote_class = ray.remote(concurrency_groups=groups)(kind) if groups else ray.remote(kind)
        for _ in range(NAME_TRIES):
            try:
                return remote_class.options(**options).remote(*args)
            except ValueError:
                self._end_namesake(role)
                time.sleep(NAME_WAIT_S)
        raise JobFailed(
            f"{role}: one of that name, of a driver before, has not ended; "
            f"go on with: headrace resume {self._run_folder}"
        )

    def _end_namesake(self, role: str) -> None:
        """Ends an actor of a driver that hung: it holds its name, and no valid token.

        Whoever is found before the registry confirms our token was not started by a driver after us.
        """
        with suppress(ValueError):
            holder = ray.get_actor(role)
            self._registry.heartbeat_driver(self._token)
            ray.kill(holder)

    def _strategy(self, role: str) -> Any:
        """Producers spread out; trainers keep to this node, where the lanes are, so that a block is there once."""
        if role.startswith("producer-"):
            return "SPREAD"
        return NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)

    def _enlist(self, role: str, actor: ActorHandle, checkpoint: int | None = None) -> None:
        self._members[role] = Member(role, actor, actor.run.remote(), time.monotonic(), checkpoint)
        log.info("role=%s started", role)
