"""The driver's eyes: keeps its heartbeat, shows progress, and files measurements and events in the run folder."""

import json
import logging
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

from cluster.metrics_store import MetricsStore
from cluster.stopping import StopWish
from shared.disk import room_for
from shared.embedded_redis import EmbeddedRedis
from shared.errors import DiskFull, HeadraceError, JobFailed, RegistryUnreachable, StaleToken, UserError
from shared.files import write_atomically
from shared.ledger import ledger
from shared.registry import Registry
from shared.registry_facts import Event
from shared.registry_snapshot import Snapshot

log = logging.getLogger(__name__)
HEARTBEAT_S = 3.0
FLUSH_LOOKS = 30
"""Looks, of a second each, between two files of metrics."""


class Display(Protocol):
    """Whoever shows a job's progress."""

    def update(self, snapshot: Snapshot) -> None: ...

    def event(self, event: Event) -> None: ...


class Watcher:
    """One job's, for as long as its driver lives.

    A driver that hung, and whose job another one has meanwhile, writes nothing more into the run folder: its successor
    files the same measurements and events, and a newer ledger.
    """

    def __init__(
        self, registry: Registry, token: int, run_folder: Path, display: Display, embedded: EmbeddedRedis | None
    ) -> None:
        self._registry, self._token, self._run_folder = registry, token, run_folder
        self._display, self._embedded = display, embedded
        self._store = MetricsStore(run_folder)
        self._events: list[Event] = []
        self._last_event = self._last_metric = "-"
        self._pass_over_what_was()
        self._looks, self._is_away = 0, False
        self.trouble = ""
        """Why measurements wait in memory: the disk is full."""
        self.stop_wanted = StopWish()
        self.is_fenced = False
        """Another driver is known to have the job."""
        self._complaint = ""
        """What the newest heartbeat failed of."""
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="driver-heartbeat", daemon=True)
        self._thread.start()

    def event(self, kind: str, message: str) -> None:
        """Notes something that happened; it is shown at the next look."""
        try:
            self._registry.add_event(kind, message)
        except RegistryUnreachable:
            log.warning("event=%s message=%s", kind, message)

    def look(self) -> Snapshot | None:
        """Reads the registry and shows what it says; None while it does not answer.

        Raises:
            JobFailed: the registry does not know the job any more.
        """
        try:
            snapshot = self._registry.snapshot()
            self._collect()
        except RegistryUnreachable as error:
            log.warning("registry=unreachable reason=%s", error)
            self._show_whether_away(True)
            return None
        except UserError as error:  # a server that lost its newest second may have lost the job with it
            raise JobFailed(f"{error} any more; go on with: headrace resume {self._run_folder}") from error
        self._show_whether_away(False)
        self._display.update(snapshot)
        self._looks += 1
        if self._looks % FLUSH_LOOKS == 0 and self._holds_job():
            self._flush()
        return snapshot

    def _show_whether_away(self, is_away: bool) -> None:
        """Once for each change; in no registry's events, since it could not be asked to keep it."""
        if is_away != self._is_away:
            self._is_away = is_away
            message = "the registry does not answer: all wait for it" if is_away else "the registry answers again"
            self._display.event(Event("", round(1000 * time.time()), "registry", message))

    def file(self) -> None:
        """Files what was measured until now: whoever resumes a job that has ended passes over it."""
        if self._holds_job():
            try:
                self._collect()
            except HeadraceError as error:
                log.warning("measurements=uncollected reason=%s", error)
            self._flush()

    def _flush(self) -> None:
        try:
            with room_for("measurements", self._run_folder):
                self._store.flush()
            self.trouble = ""
        except DiskFull as error:
            self.trouble = str(error)
            log.warning("metrics=unwritten reason=%s", error)

    def close(self) -> None:
        """Ends the heartbeat, and files what is left, unless another driver has the job."""
        self._ending.set()
        self._thread.join(10.0)
        if self._holds_job():
            self._file_all()

    def _file_all(self) -> None:
        try:
            self._collect()
            facts = ledger(self._registry.snapshot())
            self._write("ledger.json", {**asdict(facts), "imbalances": facts.imbalances()})
        except HeadraceError as error:
            log.warning("ledger=unwritten reason=%s", error)
        self._write("events.json", [asdict(event) for event in self._events])
        self._flush()

    def _write(self, name: str, facts: Any) -> None:
        """What the registry still has may be missing from the folder where its disk is full."""
        try:
            with room_for(name, self._run_folder):
                write_atomically(self._run_folder / name, json.dumps(facts, indent=2).encode())
        except DiskFull as error:
            log.warning("file=%s unwritten reason=%s", name, error)

    def _pass_over_what_was(self) -> None:
        """Of runs before this one: events are kept and not shown again, measurements lie in their files already."""
        while events := self._registry.events(self._last_event):
            self._events += events
            self._last_event = events[-1].id
        while measurements := self._registry.metrics(self._last_metric):
            self._last_metric = measurements[-1].id

    def _collect(self) -> None:
        while events := self._registry.events(self._last_event):
            for event in events:
                self._display.event(event)
            self._events += events
            self._last_event = events[-1].id
        while measurements := self._registry.metrics(self._last_metric):
            self._store.add(measurements)
            self._last_metric = measurements[-1].id

    def _beat(self) -> None:
        """Until the job is another driver's: no other error ends it, since a job not heard of is free to be taken."""
        while not self._ending.wait(HEARTBEAT_S):
            try:
                self._beat_or_revive()
                self._complaint = ""
            except StaleToken:
                self._fence()
                return
            except Exception as error:
                self._complain(f"{type(error).__name__}: {error}")

    def _beat_or_revive(self) -> None:
        try:
            self._registry.heartbeat_driver(self._token)
        except RegistryUnreachable:
            self._revive()

    def _complain(self, reason: str) -> None:
        """Said once, though each heartbeat fails of it until somebody mends it."""
        if reason != self._complaint:
            log.error("driver=unheard reason=%s", reason)
        self._complaint = reason

    def _holds_job(self) -> bool:
        """Whether the job is still this driver's; what was known last, while the registry does not say."""
        if not self.is_fenced:
            try:
                self._registry.heartbeat_driver(self._token)
            except StaleToken:
                self._fence()
            except HeadraceError as error:
                log.warning("driver=unconfirmed reason=%s", error)
        return not self.is_fenced

    def _fence(self) -> None:
        log.error("driver=fenced: another driver has taken this job over")
        self.is_fenced = True
        self.stop_wanted.set()

    def _revive(self) -> None:
        """An embedded server that died is started again; its append-only file has all."""
        if self._embedded is not None:
            try:
                self._embedded.connect().close()
            except HeadraceError as error:
                log.warning("registry=dead reason=%s", error)
