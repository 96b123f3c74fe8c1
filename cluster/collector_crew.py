"""The collectors of a command as Ray actors: placed as producers are, started, asked how far they are, ended."""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import ray
import torch
from ray.actor import ActorHandle

from cluster.collection_plan import CollectionPlan, Share
from cluster.collector_actor import CollectorActor
from cluster.death import death_of
from cluster.driver_log import keep_traceback
from cluster.memory_plan import SMALLEST_STORE_BYTES
from cluster.placement import Reservation, fit, idle_gpus, shortage, wanted_collectors
from cluster.ray_session import ray_session
from cluster.ray_token import own_cluster_is_wanted
from cluster.restart_policy import Cause
from shared.errors import HeadraceError, JobFailed

MAX_RESTARTS = 3
"""Of each collector."""
GPU_ADVICE = "lower --collectors, each of which is given producers.gpus; one alone needs none"
POLL_S = 0.5
ANSWER_S = 10.0
ENDING_S = 10.0


@dataclass
class Member:
    """A collector that runs."""

    share: Share
    actor: ActorHandle
    run: ray.ObjectRef
    asked: ray.ObjectRef
    """The answer, which may be long in coming, to how many rows it has seen."""
    rows: int = 0


def collect_with_crew(
    plan: CollectionPlan, shares: Sequence[Share], on_rows: Callable[[int], None], tell: Callable[[str], None]
) -> list[int]:
    """Runs a collector for each of `shares`, on a Ray of our own or the cluster's, until all have saved their ends.

    Args:
        on_rows: is told now and then how many rows they have seen together.
        tell: is given a sentence where one has died, or they have to wait for others.
    Returns:
        How many rows each has seen.
    Raises:
        UserError, JobFailed: one could not be started, or went wrong, or died too often; what they saved is kept.
    """
    roles = wanted_collectors(plan.job, len(shares))
    if own_cluster_is_wanted():
        fit(roles, math.inf, torch.cuda.device_count(), GPU_ADVICE)
    with ray_session(plan.job.name, sum(one.cpus for one in roles.values()), SMALLEST_STORE_BYTES) as resources:
        reservations = fit(roles, resources.cpus, resources.gpus, GPU_ADVICE)
        if idle := idle_gpus(plan.job, resources.gpus):
            tell(idle)
        if waiting := shortage(reservations, resources.free_cpus, resources.free_gpus):
            tell(waiting)
        crew = CollectorCrew(plan, reservations, tell)
        try:
            crew.start(shares)
            return crew.rows_at_the_end(on_rows)
        finally:
            crew.remove_all()


class CollectorCrew:
    """One actor for each share, ours alone: it dies with this process, and another takes its place where it dies.

    Ray would restart it too, but prints what it does on standard output.
    """

    def __init__(
        self, plan: CollectionPlan, reservations: Mapping[str, Reservation], tell: Callable[[str], None]
    ) -> None:
        self._plan, self._reservations, self._tell = plan, reservations, tell
        self._members: dict[Share, Member] = {}
        self._deaths: dict[Share, int] = {}

    def start(self, shares: Sequence[Share]) -> None:
        for share in shares:
            self._start(share)

    def rows_at_the_end(self, on_rows: Callable[[int], None]) -> list[int]:
        """Waits until all have ended; how many rows each has then seen."""
        ended: dict[Share, int] = {}
        while len(ended) < len(self._members):
            running = {member.run: member for share, member in self._members.items() if share not in ended}
            done, _ = ray.wait(list(running), timeout=POLL_S, fetch_local=False)
            for run in done:
                member = running.pop(run)
                try:
                    ended[member.share] = member.rows = ray.get(run, timeout=ANSWER_S)
                except ray.exceptions.RayError as error:
                    self._replace(member, error)
            for member in running.values():
                _look(member)
            on_rows(sum(member.rows for member in self._members.values()))
        return [ended[share] for share in self._members]

    def remove_all(self) -> None:
        """Ends all actors, and waits until they have ended: none saves itself any more."""
        for member in self._members.values():
            ray.kill(member.actor)
        runs = [member.run for member in self._members.values()]
        if runs:
            ray.wait(runs, num_returns=len(runs), timeout=ENDING_S, fetch_local=False)

    def _start(self, share: Share) -> None:
        reserved = self._reservations[share.role]
        options = {
            "num_cpus": reserved.cpus,
            "num_gpus": reserved.gpus,
            "max_restarts": 0,
            "max_task_retries": 0,
            "scheduling_strategy": "SPREAD",
        }
        kind = ray.remote(concurrency_groups={"run": 1, "control": 1})(CollectorActor)
        actor = kind.options(**options).remote(self._plan, share, Path.cwd())
        self._members[share] = Member(share, actor, actor.run.remote(), actor.rows.remote())

    def _replace(self, member: Member, error: ray.exceptions.RayError) -> None:
        """A new actor for one whose `run` has raised `error`, which goes on from what was saved."""
        share = member.share
        self._deaths[share] = self._deaths.get(share, 0) + 1
        if failure := ending(share.role, error, self._deaths[share]):
            raise failure from error
        ray.kill(member.actor)  # Ray may have lost sight of it alone
        self._start(share)
        self._tell(f"{share.role} {death_of(error).reason}; it goes on from what it saved")


def ending(role: str, error: ray.exceptions.RayError, num_deaths: int) -> HeadraceError | None:
    """What the command ends with when `run` of a collector has raised `error`; None where it is to be replaced."""
    if isinstance(cause := getattr(error, "cause", None), HeadraceError):
        return cause
    death = death_of(error)
    if death.cause is Cause.USER_ERROR:
        return JobFailed(f"{role} {death.reason}")
    if death.cause is Cause.RAISED:
        return JobFailed(f"{role} {death.reason} (the traceback is in {keep_traceback(error)})")
    if num_deaths > MAX_RESTARTS:
        return JobFailed(f"{role} {death.reason}, too often; the same command goes on from what was saved")
    return None


def _look(member: Member) -> None:
    """Takes the answer, if there is one, and asks again."""
    done, _ = ray.wait([member.asked], timeout=0)
    if done:
        with suppress(ray.exceptions.RayError):
            member.rows = ray.get(member.asked, timeout=ANSWER_S)
        member.asked = member.actor.rows.remote()
