"""Whether Ray puts objects on disk because its store is full: the stream is slow then, and Ray says nothing.

The memory plan is there so that this never happens: a store that is smaller than planned, or that another job fills, is
the reason when it does. Ray has these numbers for its own dashboard only, so that one call here is of its private ones
(seen with Ray 2.60).
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

log = logging.getLogger(__name__)
POLL_S = 5.0
CALM_S = 60.0
"""Without anything new on disk for so long it counts as over."""
ANSWER_S = 10.0


class OnDisk(NamedTuple):
    """Bytes of objects that went to disk since the cluster began, and that lie there for want of shared memory now."""

    spilled_bytes: int
    fallback_bytes: int


def ask_ray() -> OnDisk:
    """Over all nodes. Raises what Ray's own calls raise when no node answers."""
    import ray
    from ray._private.internal_api import get_memory_info_reply

    stats = get_memory_info_reply(ray._private.state.state, timeout_seconds=ANSWER_S).store_stats
    return OnDisk(stats.spilled_bytes_total, stats.object_store_bytes_fallback)


class SpillWatch:
    """Asks every few seconds in a thread of its own, since a node may take its time to answer."""

    def __init__(self, ask: Callable[[], OnDisk] = ask_ray) -> None:
        self._ask = ask
        self._last: OnDisk | None = None
        self._rose_s: float | None = None
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._poll, name="spill-watch", daemon=True)

    def __enter__(self) -> "SpillWatch":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ending.set()
        self._thread.join(1.0)  # `ray job stop` gives 3 s for everything

    def look(self, now_s: float) -> None:
        """Asks once. What lay on disk before the first time is not of this job."""
        found = self._ask()
        before, self._last = self._last or found, found
        if found.spilled_bytes > before.spilled_bytes or found.fallback_bytes > before.fallback_bytes:
            self._rose_s = now_s

    def trouble(self, now_s: float) -> str:
        """A sentence while objects go to disk; else empty."""
        if self._rose_s is None or now_s - self._rose_s > CALM_S:
            return ""
        return "Ray's object store is too small and puts blocks on disk: enlarge it, or lower stream.log_bytes"

    def _poll(self) -> None:
        while not self._ending.wait(POLL_S):
            try:
                self.look(time.monotonic())
            except Exception as error:  # of gRPC, or of Ray, which share no class
                log.warning("spill=unknown reason=%s", str(error).partition("\n")[0])
