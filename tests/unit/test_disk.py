"""A disk that is really full, as each library that writes says it; and who goes on in spite of it."""

import logging
import time
from pathlib import Path

import pyarrow as pa
import pytest
import redis
import torch
from safetensors.torch import save_file

from cluster.driver_log import driver_log
from cluster.metrics_store import MetricsStore, read_metrics
from cluster.troubles import troubles
from shared.disk import free_bytes, is_full, room_for
from shared.embedded_redis import EmbeddedRedis
from shared.errors import DiskFull, RegistryUnreachable
from shared.files import first_folder, replace_folder, write_atomically
from shared.registry import Registry
from shared.registry_facts import DeadUnit, Measurement
from shared.registry_snapshot import UnitFacts
from shared.row_table import write_ipc
from tests.example_run import example_snapshot, lane_facts, trainer_counters
from tests.small_disk import Mount

WEIGHTS = {"w": torch.zeros(100_000)}


def test_every_library_that_writes_is_understood(mount: Mount, tmp_path: Path) -> None:
    disk = mount(tmp_path / "disk", 1)
    disk.fill()
    path = disk.folder / "file"
    table = pa.table({"a": list(range(100_000))})
    for write in (
        lambda: path.write_bytes(bytes(10_000)),
        lambda: write_atomically(path, bytes(10_000)),
        lambda: save_file(WEIGHTS, path),
        lambda: write_ipc(table, path),
    ):
        path.unlink(missing_ok=True)
        sentence = rf"^no room for it: the disk of {disk.folder} is full$"
        with pytest.raises(DiskFull, match=sentence), room_for("it", disk.folder):
            write()  # type: ignore[no-untyped-call]
    assert free_bytes(disk.folder) == 0


@pytest.mark.parametrize("error", [OSError(2, "No such file"), ValueError("full"), RuntimeError("(os error 2)")])
def test_other_errors_are_not_taken_for_a_full_disk(error: Exception) -> None:
    assert not is_full(error)
    with pytest.raises(type(error)), room_for("it", Path("/")):
        raise error


def test_what_there_was_stays_whole_when_its_successor_finds_no_room(mount: Mount, tmp_path: Path) -> None:
    disk = mount(tmp_path / "disk", 1)
    folder = disk.folder / "state"
    with replace_folder(folder) as new:
        (new / "weights").write_bytes(b"old")
    disk.fill()
    for make in (replace_folder, first_folder):
        with pytest.raises(DiskFull), room_for("it", folder), make(folder) as new:
            save_file(WEIGHTS, new / "weights")
    assert (folder / "weights").read_bytes() == b"old"
    assert [one.name for one in disk.folder.iterdir() if one.name.endswith(".tmp")] == []


def test_measurements_wait_until_there_is_room(mount: Mount, tmp_path: Path) -> None:
    disk = mount(tmp_path / "disk", 1)
    store = MetricsStore(disk.folder)
    disk.fill()
    for number in range(2):
        store.add([Measurement("", number, "lane-0", {"rows": number})])
        with pytest.raises(DiskFull), room_for("measurements", disk.folder):
            store.flush()
    disk.empty()
    store.flush()
    assert read_metrics(disk.folder)["value"].to_pylist() == [0.0, 1.0]


def test_log_does_without_what_finds_no_room(mount: Mount, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    disk = mount(tmp_path / "disk", 1)
    with driver_log(disk.folder):
        disk.fill()
        logging.getLogger("cluster").info("x" * 20_000)
    assert capfd.readouterr() == ("", "")


def test_registry_whose_disk_is_full_is_read_and_alive_and_takes_all_again_once_there_is_room(
    mount: Mount, tmp_path: Path
) -> None:
    disk = mount(tmp_path / "runs", 4)
    embedded = EmbeddedRedis(disk.folder)
    with embedded.connect() as client:
        registry = Registry(client, "demo")
        token = registry.claim_job("", "runs/demo", resume=False)
        disk.fill()
        _until_refused(registry, token)
        assert registry.snapshot().job.name == "demo"
        with pytest.raises(redis.ResponseError, match="MISCONF"):
            client.ping()
        with pytest.raises(RegistryUnreachable, match=r"cannot be used at the moment: .*MISCONF"):
            embedded.connect()
        disk.empty()
        _until_taken(registry, token)
        registry.add_event("note", "well again")
    embedded.stop()
    with embedded.connect() as client:
        assert Registry(client, "demo").events()[-1].message == "well again"
    embedded.stop()


def _until_refused(registry: Registry, token: int) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            registry.heartbeat_driver(token)
            registry.add_event("note", "x" * 10_000)
        except RegistryUnreachable:
            return
        time.sleep(0.05)
    raise AssertionError("the registry's disk did not count as full")


def _until_taken(registry: Registry, token: int) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            registry.heartbeat_driver(token)
            return
        except RegistryUnreachable:
            assert time.monotonic() < deadline
            time.sleep(0.1)


def test_reasons_are_said_once_each_whoever_says_them() -> None:
    full = "no room for checkpoint 40: the disk of runs/x is full"
    snapshot = example_snapshot(
        lanes=(lane_facts(10, trouble=full), lane_facts(11, lane=1)),  # type: ignore[arg-type]
        trainers={"a": trainer_counters(9, trouble=full), "b": trainer_counters(9)},
        units=UnitFacts({}, (), (), (DeadUnit(4, "not UTF-8"),)),
    )
    assert troubles(snapshot, ["", "no room for measurements"]) == [
        "unit 4 is set aside: not UTF-8",
        "no room for measurements",
        full,
    ]
    assert troubles(example_snapshot(), [""]) == []
