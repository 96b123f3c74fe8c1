"""How producers and trainers reach a lane: by name, anew each time it dies, since it comes back as another actor."""

import time
from typing import NamedTuple

import ray
from ray.actor import ActorHandle
from ray.exceptions import RayActorError

from shared.errors import LaneClosed

RETRY_S = 0.2
CALL_TIMEOUT_S = 60.0


class FetchedBlock(NamedTuple):
    """A lane's answer to `fetch`."""

    number: int
    boxed: list[ray.ObjectRef]
    """The reference of the block's table; in a list, so that Ray hands it on unresolved."""


class LaneGone(Exception):
    """The lane's actor is dead, or another one has its role: ask again when that is there."""


class LaneClient:
    """The lanes of one job, by number."""

    def __init__(self, num_lanes: int) -> None:
        self._handles: list[ActorHandle | None] = [None] * num_lanes

    def handle(self, lane: int) -> ActorHandle:
        """The lane's actor. Raises LaneGone when there is none at the moment."""
        handle = self._handles[lane]
        if handle is None:
            try:
                handle = ray.get_actor(f"lane-{lane}")
            except ValueError as error:
                time.sleep(RETRY_S)
                raise LaneGone(f"lane-{lane}") from error
            self._handles[lane] = handle
        return handle

    def wait(self, lane: int, reference: ray.ObjectRef, timeout_s: float = CALL_TIMEOUT_S) -> object:
        """The answer of a call to the lane.

        Raises:
            LaneGone: the actor died, or is not the lane any more. GetTimeoutError: no answer in time.
            StaleToken and others: as the lane raised.
        """
        try:
            return ray.get(reference, timeout=timeout_s)
        except (RayActorError, LaneClosed) as error:
            self._handles[lane] = None
            time.sleep(RETRY_S)
            raise LaneGone(f"lane-{lane}") from error
