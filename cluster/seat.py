"""What an actor is given when it takes a role: the job, the role, its token, and where the registry is."""

import logging
import os
from dataclasses import dataclass
from pathlib import Path

from cluster.checkpoints import part_name
from shared.config import Job
from shared.registry import Registry
from shared.registry_connection import RegistryAddress

SPOOL = "spool"


@dataclass(frozen=True)
class Seat:
    """One role of one job, held by whoever has the newest token."""

    job: Job
    role: str
    """`producer-0`, `lane-0`, `trainer-topk-512`."""
    token: int
    stream: int
    """Which stream of the job's: what was saved in one that began before is not part of this one's checkpoints."""
    address: RegistryAddress
    run_folder: Path
    driver_folder: Path
    """Where the driver stands: relative paths of the job file begin there."""

    def open_registry(self) -> Registry:
        return Registry(self.address.connect(), self.job.name)

    def part_folder(self, block: int) -> Path:
        """Where this role saves its part of checkpoint `block`."""
        return self.run_folder / "checkpoints" / str(block) / part_name(self.role, self.stream)

    @property
    def spool_folder(self) -> Path:
        """Where this role, a lane, puts blocks that its log has no room for."""
        return self.run_folder / SPOOL / f"{self.role}@{self.token}"


def prepare_process(seat: Seat) -> None:
    """As `stand_in`, for whoever has a seat."""
    stand_in(seat.driver_folder)


def stand_in(driver_folder: Path) -> None:
    """Stands an actor where the driver stands, if its node has that folder; makes log lines that read well."""
    if os.access(driver_folder, os.X_OK):
        os.chdir(driver_folder)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", force=True)
