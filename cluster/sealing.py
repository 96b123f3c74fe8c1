"""The checkpoints of a running job: each gets its manifest when all have saved their parts, and older ones go."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from cluster import checkpoints
from cluster.checkpoints import Checkpoint
from cluster.crew import Crew
from cluster.patience import if_reachable
from cluster.preparation import Prepared
from shared.config import Job
from shared.disk import room_for
from shared.errors import CheckpointError, DiskFull, Unreadable
from shared.registry import Registry
from shared.registry_snapshot import Snapshot


class Sealing:
    """Of one driver, which tells it of every look at the registry."""

    def __init__(
        self,
        job: Job,
        run_folder: Path,
        registry: Registry,
        token: int,
        prepared: Prepared,
        crew: Crew,
        tell_damage: Callable[[str], None],
    ) -> None:
        """`tell_damage` is told, in a sentence, of each checkpoint that cannot be used."""
        self._job, self._run_folder, self._registry, self._token = job, run_folder, registry, token
        self._prepared, self._crew, self._tell_damage = prepared, crew, tell_damage
        self._trainer_roles = [f"trainer-{trainer.name}" for trainer in job.trainers]
        self._lane_roles = [f"lane-{index}" for index in range(job.stream.lanes)]
        self.newest: Checkpoint | None = None
        """What all would go back to; None is the beginning."""
        self.trouble = ""
        """Why the newest checkpoint has no manifest yet."""
        self._damaged: set[int] = set()
        """Blocks of checkpoints that never get one."""

    @property
    def newest_block(self) -> int:
        """Of the newest checkpoint; 0 at the beginning."""
        return self.newest.block if self.newest else 0

    def has(self, block: int) -> bool:
        """Whether the newest checkpoint is that of `block`."""
        return self.newest is not None and self.newest.block == block

    def begin_at(self, checkpoint: Checkpoint | None) -> None:
        """The whole stream goes on from there."""
        self.newest, self.trouble = checkpoint, ""
        self._damaged.clear()

    def is_whole(self, role: str) -> bool:
        """Whether the newest checkpoint has the part of `role` as it was saved; the beginning has every part."""
        return self.newest is None or self.newest.is_whole(role)

    def looked(self, snapshot: Snapshot, stop_block: int | None) -> None:
        """Writes the manifests of checkpoints that became complete, and lets older ones go.

        Where the disk is full, or does not let parts be read, it is tried again at the next look; until then the
        checkpoint before counts. One that lost a part is passed over, unless all have stopped there.

        Raises:
            CheckpointError: the one at `stop_block` has lost a part.
            StaleToken: another driver has the job.
        """
        for block in self._complete(snapshot, stop_block):
            self._registry.heartbeat_driver(self._token)
            try:
                with room_for(f"the manifest of checkpoint {block}", self._run_folder):
                    self.newest = self._sealed(block, snapshot)
            except (DiskFull, Unreadable) as error:
                self.trouble = str(error)
                return
            except CheckpointError as error:
                if block == stop_block:
                    raise
                self._damaged.add(block)
                self._tell_damage(f"checkpoint {block} cannot be used: {error}")
                continue
            self.trouble = ""
            self._crew.tell(self._crew.lanes(), "checkpoint_complete", block)
            in_use = self._crew.being_restored(snapshot.heartbeats)
            checkpoints.prune(self._run_folder, self._job.checkpoint.keep, in_use)
            if_reachable(partial(self._registry.forget_checkpoints, checkpoints.oldest(self._run_folder)))

    def missing(self, block: int) -> list[str]:
        """The roles that have not saved at `block`."""
        roles = [*self._lane_roles, *self._trainer_roles]
        return checkpoints.missing_parts(self._run_folder, self._crew.stream, block, roles)

    def _complete(self, snapshot: Snapshot, stop_block: int | None) -> list[int]:
        """Blocks of checkpoints that are complete, by the registry, or by the disk alone where all have stopped.

        A registry that lost its newest second may have forgotten who has saved there, and nobody says it again.
        """
        newest = self.newest.block if self.newest else -1
        complete = set(snapshot.checkpoints)
        if stop_block is not None and not self.missing(stop_block):
            complete.add(stop_block)
        return sorted(block for block in complete - self._damaged if block > newest)

    def _sealed(self, block: int, snapshot: Snapshot) -> Checkpoint:
        return checkpoints.seal(
            self._run_folder,
            self._crew.stream,
            block,
            self._lane_roles,
            self._trainer_roles,
            {
                "job": self._job.name,
                "fingerprint": self._prepared.fingerprint,
                "num_units": self._prepared.num_units,
                "dead_units": [dead.unit for dead in snapshot.units.dead],
                "scales": snapshot.scales,
            },
        )
