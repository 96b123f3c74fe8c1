"""Whose spools a driver takes away: those of lanes before its own and its own, never those of a driver after it."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import redis

from cluster.crew import Crew
from shared.errors import StaleToken
from shared.registry import Registry
from shared.registry_connection import RegistryAddress
from shared.registry_keys import key
from shared.spool import Spool
from tests.chaos.simulation.small_job import small_job


class CrewWithoutRay(Crew):
    """Whose lanes do no more than make their spools."""

    def _launch(self, kind: type, role: str, groups: dict[str, int], *args: Any) -> Any:
        folder = Spool(args[0].spool_folder).folder
        (folder / "0.arrow").write_bytes(b"rows")
        return SimpleNamespace(run=SimpleNamespace(remote=lambda: None))


@pytest.fixture
def address(embedded_address: RegistryAddress) -> RegistryAddress:
    return embedded_address


def make_crew(run_folder: Path, registry: Registry, address: RegistryAddress, token: int) -> Crew:
    small = small_job(0)
    return CrewWithoutRay(small.job, run_folder, registry, token, address, small.prepared, {})


def take_over(client: redis.Redis, registry: Registry, run_folder: Path) -> int:
    """The token of a driver that finds the one before it silent for long."""
    client.hset(key(registry.job, "job"), "driver_ms", 0)
    return registry.claim_job("name: demo", str(run_folder), resume=True)


def spooled(run_folder: Path) -> list[Path]:
    return sorted((run_folder / "spool").glob("*/0.arrow"))


def test_spools_go_with_their_driver(registry: Registry, driver: int, address: RegistryAddress, tmp_path: Path) -> None:
    crew = make_crew(tmp_path, registry, address, driver)
    crew.start_lane(0, None, {})
    crew.start_lane(0, None, {})
    assert len(spooled(tmp_path)) == 1, "the one of the lane before is there still"
    crew.drop_spools()
    assert not (tmp_path / "spool").exists()


def test_a_driver_that_was_superseded_leaves_the_spools_of_its_successor(
    client: redis.Redis, registry: Registry, driver: int, address: RegistryAddress, tmp_path: Path
) -> None:
    older = make_crew(tmp_path, registry, address, driver)
    older.start_lane(0, None, {})
    newer = make_crew(tmp_path, registry, address, take_over(client, registry, tmp_path))
    newer.start_lane(0, None, {})
    theirs = spooled(tmp_path)
    assert len(theirs) == 1
    with pytest.raises(StaleToken):
        older.start_lane(0, None, {})
    older.drop_spools()
    assert spooled(tmp_path) == theirs
    newer.drop_spools()
    assert not (tmp_path / "spool").exists()
