"""What the registry knows about jobs at this moment, for the page.

Looking must not keep an embedded server alive: it is never started for the page, and each look has a connection of its
own, for milliseconds.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import redis

from shared.errors import HeadraceError
from shared.registry import Registry, list_jobs
from shared.registry_connection import connect_registry
from shared.registry_facts import Event, JobSummary, Measurement
from shared.registry_place import EMBEDDED, runs_address
from shared.registry_snapshot import Snapshot

MAX_EVENTS = 500
MAX_NEWER = 50_000
"""Measurements that are kept until they are in the run's files, where its driver puts them twice a minute."""


@dataclass(frozen=True)
class Live:
    """One look at a job that the registry knows."""

    snapshot: Snapshot
    events: tuple[Event, ...]
    newer: tuple[Measurement, ...]
    """Measurements, the newest of which may not be in the run's files yet."""


class LiveJobs:
    """The jobs of a runs folder's registries."""

    def __init__(self, runs: Path, registry: str | None) -> None:
        """`registry`: a URL that holds for every job, instead of what its job file says."""
        self._runs, self._registry = runs, registry
        self._tails: dict[tuple[str, str], _Tail] = {}
        self._lock = threading.Lock()

    def jobs(self) -> list[JobSummary]:
        """All that the registry of the folder (or the one that was given) knows; none where it does not answer."""
        try:
            with self._client(EMBEDDED) as client:
                return list_jobs(client) if client else []
        except HeadraceError:
            return []

    def look(self, job: str, registry: str, folder: Path, from_ms: int) -> Live | None:
        """The job that runs, or ran, in `folder`; None where no registry knows it. Measurements are after `from_ms`."""
        try:
            with self._client(registry) as client:
                return self._look(Registry(client, job), folder, from_ms) if client else None
        except HeadraceError:
            return None

    def _look(self, registry: Registry, folder: Path, from_ms: int) -> Live | None:
        if registry.job_state() is None:
            return None
        snapshot = registry.snapshot()
        if Path(snapshot.job.output).resolve() != folder.resolve():
            return None
        with self._lock:
            key = (registry.job, f"{folder.resolve()} {snapshot.job.created_ms}")
            tail = self._tails.setdefault(key, _Tail())
            tail.read_on(registry, from_ms)
            return Live(snapshot, tuple(tail.events), tuple(tail.newer))

    @contextmanager
    def _client(self, registry: str) -> Iterator[redis.Redis | None]:
        where = self._registry or registry
        address = runs_address(where, self._runs)
        if address.secret_path and not Path(address.secret_path).is_file():
            yield None  # there never was an embedded server
            return
        with connect_registry(address.url, address.secret_path, num_retries=0) as client:
            yield client


class _Tail:
    """What a job's two streams have had since the last look."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.newer: list[Measurement] = []
        self._last_event = self._last_metric = "-"

    def read_on(self, registry: Registry, from_ms: int) -> None:
        if self._last_metric == "-":
            self._last_metric = f"{from_ms}-0"
        while events := registry.events(self._last_event):
            self.events += events
            self._last_event = events[-1].id
        while measurements := registry.metrics(self._last_metric):
            self.newer += measurements
            self._last_metric = measurements[-1].id
        self.events = self.events[-MAX_EVENTS:]
        self.newer = [one for one in self.newer if one.time_ms > from_ms][-MAX_NEWER:]
