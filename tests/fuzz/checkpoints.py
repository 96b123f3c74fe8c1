"""A run folder with two complete checkpoints of a lane and two trainers: any file of the newer one changed.

What is read back is what was saved, or the older checkpoint, or refused.
"""

import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cluster import checkpoints
from cluster.part_files import write_part
from shared.active_configs import TopKConfig
from shared.errors import CheckpointError
from shared.lane import Lane, LaneSizes
from shared.penalty_configs import ReluL1Config
from shared.registry_facts import TrainerCounters
from shared.row_table import RowFormat, Rows
from shared.stream_plan import StreamPlan
from shared.trainer_config import TrainerConfig
from tests.fuzz.mutation import mutate_file
from tests.fuzz.target import Target
from trainers import Trainer

FORMAT = RowFormat("job", "model", "main", {"h": 8}, "float32")
PLAN = StreamPlan(tokens=2000, block_rows=100, lanes=1, every_blocks=2)
CONFIGS: tuple[TrainerConfig, ...] = (
    TopKConfig(name="t", architecture="topk", num_latents=16, k=2, batch_rows=64),
    ReluL1Config(name="r", architecture="relu_l1", num_latents=16, batch_rows=64, ema_decay=0.9),
)
STREAM = 7
ROLES = ("lane-0", "trainer-t", "trainer-r")
FACTS: dict[str, Any] = {
    "job": "one",
    "fingerprint": "f" * 32,
    "num_units": 90,
    "dead_units": [4],
    "scales": {"h": 0.5},
}


class Checkpoints(Target):
    """`checkpoints.newest`, `Lane.restore`, `Trainer.load`."""

    name = "checkpoints"

    def __init__(self, ground: Path) -> None:
        super().__init__(ground)
        self._run = ground / "run"
        lane, trainers = _lane(), [Trainer(one, {"h": 8}, 1, PLAN.tokens) for one in CONFIGS]
        for trainer in trainers:
            trainer.fix_scales({"h": 0.5})
        for unit in range(4):
            lane.push(unit, 0, 1, 1, FORMAT.table(_rows(unit), unit=unit, chunk=0))
        for block in range(5):
            if block in (2, 4):
                _save(self._run, block, lane, trainers)
            for _ in range(3):
                lane.pump(0.0)
            rows = lane.fetch("t", 1, block, block, 0.0).handle  # type: ignore[union-attr]
            for trainer in trainers:
                trainer.read(block, FORMAT.rows(rows))
        self._sound = {block: checkpoints.read_checkpoint(self._run / "checkpoints" / str(block)) for block in (2, 4)}
        self._states = {block: _states(self._sound[block]) for block in (2, 4)}

    def lay(self, draw: random.Random, folder: Path) -> None:
        shutil.copytree(self._run, folder / "run")
        for _ in range(draw.choice((1, 1, 2))):
            files = sorted(path for path in (folder / "run" / "checkpoints" / "4").rglob("*") if path.is_file())
            mutate_file(draw, draw.choice(files))

    def feed(self, draw: random.Random, folder: Path) -> None:
        sentences: list[str] = []
        found = checkpoints.newest(folder / "run", sentences.append)
        assert found is not None and found.block in (2, 4)
        sound = self._sound[found.block]
        facts = (found.fingerprint, found.num_units, found.dead_units, found.scales, found.lanes, found.trainers)
        told = (sound.fingerprint, sound.num_units, sound.dead_units, sound.scales, sound.lanes, sound.trainers)
        assert facts == told, "the manifest says something else than was sealed"
        states = _states(found)
        for role, state in self._states[found.block].items():
            assert states[role] == state, f"{role} is another than was saved"
        self._look_for_parts(folder / "run")
        if sentences:
            raise CheckpointError(sentences[0])

    def _look_for_parts(self, run: Path) -> None:
        """As a driver does that replaces an actor; what is damaged it takes away, so in a copy."""
        copy = self.ground / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(run, copy)
        for role in ROLES:
            part = checkpoints.newest_part(copy, role, STREAM, lambda sentence: None)
            assert part is not None and part[0] in (2, 4)


def _rows(unit: int) -> Rows:
    rows, draw = FORMAT.empty(400), np.random.default_rng(unit)
    rows.addresses[:] = [(unit, 0, row // 10, row % 10, 7) for row in range(400)]
    rows.activations["h"][:] = draw.normal(size=(400, 8))
    return rows


def _lane() -> Lane:
    sizes = LaneSizes(300, 400, num_slots=2500, log_bytes=10**8)
    return Lane(0, PLAN, FORMAT, sizes, 5, 90, {"t": 0}, put=lambda table: FORMAT.table(_copied(FORMAT.rows(table))))


def _copied(rows: Rows) -> Rows:
    return Rows(rows.addresses.copy(), {name: values.copy() for name, values in rows.activations.items()})


def _save(run: Path, block: int, lane: Lane, trainers: list[Trainer]) -> None:
    """As the actors do."""
    folder = run / "checkpoints" / str(block)
    part = folder / checkpoints.part_name("lane-0", STREAM)
    part.mkdir(parents=True)
    write_part(part, lane.save(part))
    for trainer in trainers:
        part = folder / checkpoints.part_name(f"trainer-{trainer.config.name}", STREAM)
        trainer.save(part)
        write_part(part, TrainerCounters(cursor=trainer.cursor, rows=trainer.rows_read))
    checkpoints.seal(run, STREAM, block, ["lane-0"], [f"trainer-{one.config.name}" for one in trainers], FACTS)


def _states(checkpoint: checkpoints.Checkpoint) -> dict[str, Any]:
    """Role -> what is restored of it, in a form that can be compared."""
    lane = _lane()
    lane.restore(checkpoint.part("lane-0"), checkpoint.block)
    states: dict[str, Any] = {"lane-0": lane.counts()}
    for config in CONFIGS:
        trainer = Trainer.load(checkpoint.part(f"trainer-{config.name}"), config)
        weights = b"".join(one.detach().numpy().tobytes() for one in trainer.objective.parameters())
        moments = [
            torch.as_tensor(one).numpy().tobytes()
            for state in trainer.optimiser.state.values()
            for one in state.values()
        ]
        states[config.name] = (
            weights,
            moments,
            trainer.cursor,
            trainer.rows_read,
            repr(trainer.digest),
            trainer.scales,
        )
    return states
