"""What is measured of a running job from outside: memory and handles of its processes, Redis, object store, disk."""

import csv
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import psutil
import ray
import redis
from ray._private.internal_api import node_stats
from ray._private.state import actors

from shared.registry_keys import key

MEBI = 2**20


@dataclass(frozen=True)
class Sample:
    """One number of one subject at one moment."""

    at_s: float
    """Since the soak began."""
    subject: str
    """A role, `redis`, `store`, `folder`, `ray`."""
    measure: str
    value: float
    pid: int = 0
    age_s: float = 0.0
    """Of the process."""


class Vitals:
    """Of one job, whose Ray this process has joined."""

    def __init__(self, driver: psutil.Process, client: redis.Redis, run_folder: Path) -> None:
        self._driver, self._client, self._run_folder = driver, client, run_folder
        self._job = run_folder.name
        self._begun_s = time.monotonic()

    def take(self) -> list[Sample]:
        """All of one moment."""
        at_s = time.monotonic() - self._begun_s
        found = [
            Sample(at_s, subject, measure, value, pid, age_s)
            for subject, pid in {**self._named(), **live_actors()}.items()
            for measure, value, age_s in _of_process(pid)
        ]
        plain = [*self._of_redis(), *self._of_ray(), *self._of_folder()]
        return found + [Sample(at_s, *one) for one in plain]

    def _named(self) -> dict[str, int]:
        return {"driver": self._driver.pid, "redis": int(self._client.info("server")["process_id"])}  # type: ignore[index]

    def _of_redis(self) -> Iterator[tuple[str, str, float]]:
        memory, clients = self._client.info("memory"), self._client.info("clients")
        yield "redis", "keys", float(self._client.dbsize())  # type: ignore[arg-type]
        yield "redis", "used MiB", memory["used_memory"] / MEBI  # type: ignore[index]
        capped = sum(self._client.memory_usage(key(self._job, name), samples=0) or 0 for name in ("metrics", "events"))  # type: ignore[misc]
        yield "redis", "capped streams MiB", capped / MEBI
        yield "redis", "used MiB but for capped streams", (memory["used_memory"] - capped) / MEBI  # type: ignore[index]
        yield "redis", "clients", float(clients["connected_clients"])  # type: ignore[index]
        yield "redis", "append-only file MiB", self._client.info("persistence")["aof_current_size"] / MEBI  # type: ignore[index]

    def _of_ray(self) -> Iterator[tuple[str, str, float]]:
        store = _node().store_stats
        yield "store", "used MiB", store.object_store_bytes_used / MEBI
        yield "store", "objects", float(store.num_local_objects)
        yield "store", "spilled MiB", store.spilled_bytes_total / MEBI
        ours = {self._driver.pid, *live_actors().values()}
        others = [one for one in self._driver.children(recursive=True) if one.pid not in ours]
        yield (
            "ray",
            "private MiB",
            sum(value for one in others for name, value, _ in _of_process(one.pid) if name == "private MiB"),
        )

    def _of_folder(self) -> Iterator[tuple[str, str, float]]:
        files = [(path, path.stat().st_size) for path in _files(self._run_folder)]
        measured = [size for path, size in files if path.parent.name == "metrics"]
        yield "folder", "MiB without metrics", sum(size for path, size in files if path.parent.name != "metrics") / MEBI
        yield "folder", "files without metrics", float(len(files) - len(measured))
        yield "folder", "metrics MiB", sum(measured) / MEBI
        yield "folder", "metrics files", float(len(measured))
        log = self._run_folder / "driver.log"
        yield "folder", "log lines", float(log.read_bytes().count(b"\n")) if log.exists() else 0.0


def write_samples(path: Path, samples: list[Sample]) -> None:
    """Adds lines to a CSV file, which gets a head line when it is new."""
    is_new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, [one.name for one in fields(Sample)])
        if is_new:
            writer.writeheader()
        writer.writerows(asdict(one) for one in samples)


def read_samples(path: Path) -> list[Sample]:
    """What `write_samples` wrote."""
    with path.open(newline="") as file:
        return [
            Sample(
                float(one["at_s"]),
                one["subject"],
                one["measure"],
                float(one["value"]),
                int(one["pid"]),
                float(one["age_s"]),
            )
            for one in csv.DictReader(file)
        ]


def live_actors() -> dict[str, int]:
    """Role -> process, of the job's actors that live."""
    return {one["Name"]: one["Pid"] for one in actors().values() if one["State"] == "ALIVE" and one["Name"]}


def join(driver: psutil.Process) -> None:
    """Makes this process a part of the Ray that `driver` has started."""
    raylet = next(one for one in driver.children(recursive=True) if one.name() == "raylet")
    address = next(word for word in raylet.cmdline() if word.startswith("--gcs-address=")).partition("=")[2]
    ray.init(address=address, namespace="headrace-soak-vitals", log_to_driver=False, logging_level="ERROR")


def _node() -> Any:
    """What the one raylet says of itself."""
    (node,) = [one for one in ray.nodes() if one["Alive"]]
    return node_stats(node["NodeManagerAddress"], node["NodeManagerPort"], False)


def _files(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):
            if path.is_file():
                yield path


def _of_process(pid: int) -> list[tuple[str, float, float]]:
    """Measure, value, age; nothing of a process that has just ended."""
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        memory, age_s = process.memory_info(), time.time() - process.create_time()
        return [
            ("resident MiB", memory.rss / MEBI, age_s),
            ("private MiB", (memory.rss - memory.shared) / MEBI, age_s),
            ("handles", float(process.num_fds()), age_s),
            ("threads", float(process.num_threads()), age_s),
        ]
    return []
