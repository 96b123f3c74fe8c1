"""Looks at a job's registry all the time, strikes when the moment has come, and sees what follows."""

import random
import re
import time
from contextlib import suppress

from shared.registry import Registry
from shared.registry_facts import Event
from shared.registry_snapshot import Snapshot
from tests.chaos.fault import Trial
from tests.chaos.progress import Progress
from tests.integration.scenario import pid_of

LATER = re.compile(r"; .* (\d+\.\d) s later$")
WITHOUT = "goes on without it"
UNHEARD_S = 120.0
"""Whoever is not replaced by then will not be before the next fault."""


class Witness:
    """Of one job through `trials`, one after another."""

    def __init__(self, trials: list[Trial]) -> None:
        self._waiting = list(trials)
        self._trial: Trial | None = None
        """The one that was struck last."""
        self._struck_s, self._struck_ms, self._target = 0.0, 0, ""
        self._is_over = True
        self._last_event = "-"
        self._before: dict[str, int] = {}
        self._progress = Progress()

    def look(self, registry: Registry, snapshot: Snapshot) -> bool:
        """Never done: it looks to the end."""
        self._progress.saw(time.monotonic(), snapshot)
        self._count_repeated(snapshot)
        if not self._is_over:
            self._see_what_follows(registry, snapshot)
        elif self._waiting:
            self._strike_if_due(registry, snapshot)
        return False

    def _strike_if_due(self, registry: Registry, snapshot: Snapshot) -> None:
        trial, cursors = self._waiting[0], [one.cursor for one in snapshot.trainers.values()]
        if not cursors or min(cursors) < trial.fault.block:
            return
        self._target, pid = _victim(trial, registry, snapshot)
        if not pid:
            return
        while events := registry.events(self._last_event):
            self._last_event = events[-1].id
        trial.fault.strike(pid)
        self._trial, self._is_over = self._waiting.pop(0), False
        trial.is_tried, trial.target = True, self._target
        self._struck_s, self._struck_ms = time.monotonic(), snapshot.time_ms

    def _see_what_follows(self, registry: Registry, snapshot: Snapshot) -> None:
        trial, since_s = self._trial, time.monotonic() - self._struck_s
        assert trial is not None
        for event in registry.events(self._last_event):
            self._last_event = event.id
            if event.message.startswith(f"{self._target} "):
                self._note(trial, event)
        if trial.fault.role == "redis" or trial.fault.kind == "slow":
            if since_s > trial.fault.lasts_s:
                trial.recovery_s = since_s if trial.fault.role == "redis" else None
                self._end(trial, since_s)
        elif trial.detection_s is not None and self._target in snapshot.heartbeats:
            trial.recovery_s = since_s
            self._end(trial, since_s)
        elif since_s > UNHEARD_S or any(WITHOUT in words for words in trial.words):
            self._end(trial, since_s)

    def _note(self, trial: Trial, event: Event) -> None:
        trial.words.append(event.message)
        if trial.detection_s is None:
            later = LATER.search(event.message)
            trial.detection_s = (event.time_ms - self._struck_ms) / 1000 - (float(later[1]) if later else 0.0)

    def _end(self, trial: Trial, since_s: float) -> None:
        trial.dip = self._progress.dip(self._struck_s, self._struck_s + since_s)
        self._is_over = True

    def _count_repeated(self, snapshot: Snapshot) -> None:
        now = {name: one.rows for name, one in snapshot.trainers.items()}
        now |= {f"lane-{number}": lane.counters.emitted for number, lane in enumerate(snapshot.lanes)}
        if self._trial is not None:
            again = sum(max(0, rows - now.get(name, rows)) for name, rows in self._before.items())
            self._trial.rows_repeated += again
        self._before = now


def _victim(trial: Trial, registry: Registry, snapshot: Snapshot) -> tuple[str, int]:
    """Role and process; 0 while there is none that was heard."""
    fault = trial.fault
    if fault.role == "redis":
        return "redis", int(registry._client.info("server")["process_id"])  # type: ignore[index]
    some = [role for role in sorted(snapshot.heartbeats) if role.partition("-")[0] == fault.role]
    role = random.Random(fault.block).choice(some or [""])
    with suppress(AssertionError):
        return role, pid_of(role) if role else 0
    return role, 0
