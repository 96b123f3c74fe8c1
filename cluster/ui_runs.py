"""All runs under a folder, for the page: which there are, and each one's facts, read again no oftener than they cost.

A request names a run by its folder's name, and can reach no folder that is not directly in this one.
"""

import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.job_place import JOB_FILE
from cluster.run_facts import RunFacts, read_run
from cluster.ui_listing import damaged, elsewhere, listed
from cluster.ui_live import Live, LiveJobs
from cluster.ui_run import run_view
from shared.config import Job
from shared.errors import UserError
from shared.job_file import load_job
from shared.registry_secret import with_kept_password

FRESH_S = 1.5
"""A run's files are not read again sooner,"""
COST_FACTOR = 4
"""nor before so many times the time that reading them took."""


@dataclass
class _Read:
    """A run's facts, when they were read and how long that took."""

    facts: RunFacts
    at_s: float
    took_s: float


class Runs:
    """The runs in `folder`, or the one run that `folder` is."""

    def __init__(self, folder: Path, registry: str | None = None) -> None:
        """Raises UserError if there is no such folder."""
        if not folder.is_dir():
            raise UserError(f"there is no folder {folder}; give a folder of runs, or a run")
        self._only = folder.resolve().name if (folder / JOB_FILE).is_file() else None
        self.root = folder.resolve().parent if self._only else folder.resolve()
        self._live = LiveJobs(self.root, registry)
        self._jobs: dict[Path, tuple[int, Job]] = {}
        self._read: dict[str, _Read] = {}
        self._locks: dict[str, threading.Lock] = {}

    def names(self) -> list[str]:
        """Of the run folders, newest first."""
        found = {one.parent.name: one.stat().st_mtime for one in self.root.glob(f"*/{JOB_FILE}")}
        names = sorted(found, key=lambda name: (-found[name], name))
        return [name for name in names if not name.startswith(".") and self._only in (None, name)]

    def folder(self, name: str) -> Path:
        """The run's. Raises UserError if there is none of this name."""
        is_name = Path(name).name == name and not name.startswith(".") and self._only in (None, name)
        if not is_name or not (self.root / name / JOB_FILE).is_file():
            raise UserError(f"there is no run named {name}")
        return self.root / name

    def job(self, name: str) -> Job:
        """Its job file, read again when it has changed. Raises UserError if it is damaged."""
        path = self.folder(name) / JOB_FILE
        changed, known = path.stat().st_mtime_ns, self._jobs.get(path)
        if known is None or known[0] != changed:
            known = self._jobs[path] = (changed, load_job(path))
        return known[1]

    def listing(self) -> dict[str, Any]:
        """Every run, and jobs of the registry whose folder is not here."""
        runs = [self._summary(name) for name in self.names()]
        here = {str(self.root / one["id"]) for one in runs}
        others = [one for one in self._live.jobs() if str(Path(one.output).resolve()) not in here]
        return {
            "root": str(self.root),
            "runs": runs,
            "elsewhere": [] if self._only else [elsewhere(one) for one in others],
        }

    def view(self, name: str) -> dict[str, Any]:
        """A run's page."""
        live, facts = self._both(name)
        return {"id": name, **run_view(facts, live, self.features(name))}

    def facts(self, name: str) -> RunFacts:
        """What its plots are drawn from."""
        return self._both(name)[1]

    def features(self, name: str) -> list[str]:
        """The SAEs whose features were collected, as the job has them, then others."""
        found = [one.parent.name for one in sorted((self.folder(name) / "features").glob("*/meta.json"))]
        order = [one.name for one in self.job(name).trainers]
        return sorted(found, key=lambda sae: (order.index(sae) if sae in order else len(order), sae))

    def _both(self, name: str) -> tuple[Live | None, RunFacts]:
        with self._locks.setdefault(name, threading.Lock()):
            live, read, began = self._look(name), self._read.get(name), time.monotonic()
            if read is None or began - read.at_s > max(FRESH_S, COST_FACTOR * read.took_s):
                facts = read_run(self.folder(name), live.newer if live else ())
                read = self._read[name] = _Read(facts, time.monotonic(), time.monotonic() - began)
            return live, read.facts

    def _look(self, name: str) -> Live | None:
        """What the job's registry says, with the measurements that may not be in the run's files yet."""
        job, folder = self.job(name), self.folder(name)
        return self._live.look(job.name, with_kept_password(job.registry, folder), folder, _written_ms(folder))

    def _summary(self, name: str) -> dict[str, Any]:
        try:
            return listed(self.folder(name), self.job(name), self._look(name))
        except UserError as error:
            return damaged(name, str(error))


def _written_ms(folder: Path) -> int:
    """Before the newest file of measurements was begun; what is later may be in none."""
    parts = [one.stat().st_mtime for one in (folder / "metrics").glob("part-*.parquet")]
    return int(1000 * max(parts)) - WRITTEN_MARGIN_MS if parts else 0


WRITTEN_MARGIN_MS = 120_000
"""Between a measurement and its file: half a minute at most, and clocks of two machines that differ by a minute."""
