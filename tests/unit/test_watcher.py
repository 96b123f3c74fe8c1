"""The driver's eyes on a real registry."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from cluster.metrics_store import read_metrics
from cluster.run_job import _report, _state_at_the_end
from cluster.watcher import Watcher
from shared.errors import JobFailed, RegistryUnreachable, StaleToken
from shared.job_file import dump_job
from shared.job_state import JobState
from shared.registry import Registry
from shared.registry_facts import Event
from shared.registry_keys import SCHEMA, job_keys, key
from shared.registry_snapshot import Snapshot
from tests.example_run import example_job


class Screen:
    def __init__(self) -> None:
        self.shown: list[str] = []

    def update(self, snapshot: Snapshot) -> None: ...

    def event(self, event: Event) -> None:
        self.shown.append(event.message)


def test_a_registry_that_has_lost_the_job_fails_it_and_says_how_to_go_on(
    client: redis.Redis, registry: Registry, driver: int, tmp_path: Path
) -> None:
    screen = Screen()
    watcher = Watcher(registry, driver, tmp_path, screen, None)
    try:
        watcher.event("note", "it has begun")
        assert watcher.look() is not None and screen.shown == ["it has begun"]
        client.delete(*job_keys(registry.job))
        expected = f"there is no job named {registry.job} in this registry any more; go on with: headrace resume "
        with pytest.raises(JobFailed, match=expected):
            watcher.look()
    finally:
        watcher.close()


def test_a_registry_that_is_away_is_told_once_and_so_is_its_return(
    registry: Registry, driver: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away() -> Snapshot:
        raise RegistryUnreachable("connection refused")

    screen = Screen()
    watcher = Watcher(registry, driver, tmp_path, screen, None)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(registry, "snapshot", away)
            assert watcher.look() is None and watcher.look() is None
            assert screen.shown == ["the registry does not answer: all wait for it"]
        assert watcher.look() is not None and watcher.look() is not None
        assert screen.shown[1:] == ["the registry answers again"]
    finally:
        watcher.close()


def take_over(client: redis.Redis, registry: Registry, run_folder: Path) -> int:
    """The token of a driver that finds the one before it silent for long."""
    client.hset(key(registry.job, "job"), "driver_ms", 0)
    return registry.claim_job("name: demo", str(run_folder), resume=True)


def files(run_folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in run_folder.rglob("*") if path.is_file()}


def test_a_driver_that_was_superseded_writes_nothing_more(
    client: redis.Redis, registry: Registry, driver: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cluster.watcher.FLUSH_LOOKS", 1)
    older = Watcher(registry, driver, tmp_path, Screen(), None)
    registry.add_metrics("lane-0", {"emitted": 1})
    newer = Watcher(registry, take_over(client, registry, tmp_path), tmp_path, Screen(), None)
    registry.add_metrics("lane-0", {"emitted": 2})
    newer.close()
    written = files(tmp_path)
    assert {path.name for path in written} == {"part-0.parquet", "ledger.json", "events.json"}
    older.event("note", "it has woken up")
    older.look()
    older.file()
    older.close()
    assert files(tmp_path) == written
    assert older.is_fenced and older.stop_wanted.is_set() and not newer.is_fenced


def test_what_was_measured_is_filed_before_the_job_counts_as_ended(
    registry: Registry, driver: int, tmp_path: Path
) -> None:
    watcher = Watcher(registry, driver, tmp_path, Screen(), None)
    registry.add_metrics("lane-0", {"emitted": 1})
    watcher.file()
    assert read_metrics(tmp_path)["value"].to_pylist() == [1.0]
    watcher.close()
    assert read_metrics(tmp_path)["value"].to_pylist() == [1.0]


def test_a_driver_whose_word_was_refused_writes_no_report(
    client: redis.Redis, registry: Registry, driver: int, tmp_path: Path
) -> None:
    watcher = Watcher(registry, driver, tmp_path, Screen(), None)
    take_over(client, registry, tmp_path)
    with pytest.raises(StaleToken), _state_at_the_end(registry, driver, tmp_path / "driver.log", watcher):
        registry.set_state(driver, JobState.RUNNING)
    (tmp_path / "job.yaml").write_text(dump_job(example_job()))
    watcher.close()
    _report(tmp_path, watcher)
    assert [path.name for path in files(tmp_path)] == ["job.yaml"]
    assert registry.job_state() is JobState.STARTING


def test_the_heartbeat_goes_on_after_an_error_that_nobody_foresaw_and_says_it_once(
    client: redis.Redis,
    registry: Registry,
    driver: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("cluster.watcher.HEARTBEAT_S", 0.02)
    job_key = key(registry.job, "job")
    watcher = Watcher(registry, driver, tmp_path, Screen(), None)
    client.hset(job_key, "schema", "of another version")
    _await_true(lambda: "driver=unheard" in caplog.text)
    time.sleep(0.2)
    client.hset(job_key, mapping={"schema": SCHEMA, "driver_ms": 0})
    _await_true(lambda: client.hget(job_key, "driver_ms") != "0")
    watcher.close()
    assert caplog.text.count("driver=unheard") == 1 and not watcher.is_fenced


def _await_true(check: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not check():
        assert time.monotonic() < deadline
        time.sleep(0.01)
