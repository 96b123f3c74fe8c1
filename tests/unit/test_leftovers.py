"""What a killed actor left half written goes when its heir writes the same, and only then."""

import secrets
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cluster.leftovers import drop_leftovers
from cluster.seat import Seat
from cluster.trainer_actor import TrainerActor
from shared.embedded_redis import EmbeddedRedis
from shared.errors import StaleToken
from shared.files import leftovers
from shared.registry import Registry
from shared.registry_connection import RegistryAddress
from tests.chaos.simulation.small_job import FORMAT, HOOKPOINT, small_job
from tests.redis_fixtures import claim

KILLED_WRITER = """
import os, sys
from pathlib import Path
from shared.files import first_folder, replace_folder

with first_folder(Path(sys.argv[1])) as part, replace_folder(part) as state:
    (state / "weights").write_bytes(bytes(1000))
    os._exit(137)
"""
ROLE = "trainer-t0"


def leave(folder: Path) -> set[Path]:
    """What a process leaves beside `folder` that is killed while it writes it, as a trainer writes its part."""
    before = set(folder.parent.glob(".*"))
    assert subprocess.run([sys.executable, "-c", KILLED_WRITER, str(folder)], check=False).returncode == 137
    left = set(folder.parent.glob(".*")) - before
    assert len(left) == 2
    return left


def test_leftovers_are_known_by_the_name_of_what_was_written(tmp_path: Path) -> None:
    left = {name: leave(tmp_path / name) for name in ("topk", "topk.a", ".topk", "topk[0]")}
    (tmp_path / ".topk.tmp").mkdir()
    for name, mine in left.items():
        assert set(leftovers(tmp_path / name)) == mine
    assert leftovers(tmp_path / "nowhere" / "topk") == []


def test_leftovers_stay_while_it_is_not_sure_whose_role_it_is(tmp_path: Path) -> None:
    left = leave(tmp_path / "sae")
    embedded = EmbeddedRedis(tmp_path)
    with embedded.connect() as client:
        registry = Registry(client, f"job-{secrets.token_hex(4)}")
        registry.claim_job("", "runs/demo", resume=False)
        old, new = claim(registry, ROLE), claim(registry, ROLE)
        with pytest.raises(StaleToken):
            drop_leftovers(tmp_path / "sae", lambda: registry.heartbeat(ROLE, old, 1))
        embedded.stop()
        drop_leftovers(tmp_path / "sae", lambda: registry.heartbeat(ROLE, new, 1))
        assert set(leftovers(tmp_path / "sae")) == left
        embedded.connect().close()
        drop_leftovers(tmp_path / "sae", lambda: registry.heartbeat(ROLE, new, 1))
        assert leftovers(tmp_path / "sae") == []
    embedded.stop()


def test_a_trainer_clears_what_the_one_before_it_left_half_written(
    registry: Registry, driver: int, embedded_address: RegistryAddress, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cluster.trainer_actor.prepare_process", lambda seat: None)
    job = small_job(0).job.model_copy(update={"name": registry.job})
    seat = Seat(job, ROLE, claim(registry, ROLE), 7, embedded_address, tmp_path, tmp_path)
    actor = TrainerActor(seat, job.trainers[0], FORMAT, None, {})
    leave(seat.part_folder(0))
    assert actor._save(0)
    assert [path.name for path in seat.part_folder(0).parent.iterdir()] == [f"{ROLE}@7"]

    rows = FORMAT.empty(8)
    rows.activations[HOOKPOINT][:] = np.arange(8, dtype=np.float32)[:, None]
    actor._trainer.fix_scales({HOOKPOINT: 1.0})
    actor._trainer.read(0, rows)
    leave(tmp_path / "saes" / "t0")
    others = leave(tmp_path / "saes" / "t1")
    actor._finish()
    assert set((tmp_path / "saes").iterdir()) == {tmp_path / "saes" / "t0", *others}


@pytest.fixture
def address(embedded_address: RegistryAddress) -> RegistryAddress:
    return embedded_address
