"""Keeps a process's leases and its role alive from a thread of its own, however busy the rest is.

Work that holds the processor for longer than a lease lasts would otherwise lose it. While Redis is away nothing counts
as lost: a lease that nobody else took may still be renewed when it is back. No other error ends the thread either: who
is healthy and not heard would be taken for hung.
"""

import logging
import threading
from collections.abc import Callable

from shared.errors import RegistryUnreachable, StaleToken
from shared.registry import Registry
from shared.registry_facts import Lease

log = logging.getLogger(__name__)


class LeaseKeeper:
    """Every third of `ttl_ms`: renews what was given to `hold`, and says that `role` lives and how far it got.

    `is_fenced` becomes true, and the thread ends, when the role was given to another process.
    """

    def __init__(self, registry: Registry, role: str, token: int, ttl_ms: int = 30_000) -> None:
        self.role, self.ttl_ms = role, ttl_ms
        self.is_fenced = False
        self._registry, self._token = registry, token
        self._lock = threading.Lock()
        self._tokens: dict[int, int] = {}
        self._lost: set[int] = set()
        self._progress: Callable[[], int] = lambda: 0
        self._complaint = ""
        """What the newest round failed of."""
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"{role}-lease-keeper", daemon=True)

    def start(self, progress: Callable[[], int] | None = None) -> "LeaseKeeper":
        """Beats once, then begins; `progress` gives a number that changes when the role gets on.

        Raises:
            StaleToken: the role was given to another process.
        """
        self._progress = progress or self._progress
        self._beat_if_reachable()
        self._thread.start()
        return self

    def stop(self) -> None:
        """Ends the thread and waits for it; leases are left to whoever finishes or releases them."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def hold(self, lease: Lease) -> None:
        """Renew this one from now on."""
        with self._lock:
            self._tokens[lease.unit] = lease.token
            self._lost.discard(lease.unit)

    def drop(self, unit: int) -> None:
        """No longer: it is finished, or given up."""
        with self._lock:
            self._tokens.pop(unit, None)
            self._lost.discard(unit)

    def has_lost(self, unit: int) -> bool:
        """The unit was held, and has gone to another producer: what is left of its work is in vain."""
        with self._lock:
            return unit in self._lost

    def beat(self) -> None:
        """One round; raises StaleToken when the role was given to another process."""
        self._registry.heartbeat(self.role, self._token, self._progress())
        with self._lock:
            held = dict(self._tokens)
        lost = self._registry.renew_leases(self.role, held, self.ttl_ms)
        with self._lock:
            gone = {unit for unit in lost if self._tokens.get(unit) == held[unit]}
            for unit in gone:
                del self._tokens[unit]
            self._lost |= gone

    def _run(self) -> None:
        while not self._stopping.wait(self.ttl_ms / 3000):
            try:
                self._beat_if_reachable()
                self._complaint = ""
            except StaleToken:
                self.is_fenced = True
                return
            except Exception as error:
                self._complain(f"{type(error).__name__}: {error}")

    def _complain(self, reason: str) -> None:
        """Said once, though each round fails of it until somebody mends it."""
        if reason != self._complaint:
            log.error("role=%s heartbeat=failed reason=%s", self.role, reason)
        self._complaint = reason

    def _beat_if_reachable(self) -> None:
        try:
            self.beat()
        except RegistryUnreachable as error:
            log.warning("role=%s heartbeat=missed reason=%s", self.role, error)
