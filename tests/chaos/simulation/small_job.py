"""Jobs of a few dozen rows, what their producers and trainers stand on, and what every trainer must read.

The language model is a table of rows, the SAE a digest of what was read: a trainer that read anything else, or anything
twice, ends with another one.
"""

import functools
import json
from collections.abc import Generator, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa

from cluster.memory_plan import plan_memory
from cluster.preparation import Prepared
from producers.packing import Contexts
from producers.prefetch import prefetched
from producers.producer import Chunk, SeenText
from shared.config import Job
from shared.digest import StreamDigest
from shared.files import replace_folder
from shared.lane import Lane, LaneEnd
from shared.row_table import RowFormat, Rows, read_rows
from shared.stream_plan import StreamPlan
from tests.chaos.simulation.world import World
from trainers import Report

HOOKPOINT = "h.0"
SAVING_S = (0.0, 0.0, 45.0)
"""A large SAE takes longer than one may be silent."""
LAG_S = (0.0, 0.0, 1.0, 5.0)
"""What a trainer that yields takes for one block, so that it is left behind."""
FORMAT = RowFormat("small", "model", "main", {HOOKPOINT: 1}, "float32")


@dataclass(frozen=True, eq=False)
class SmallJob:
    """A job and its corpus."""

    job: Job
    chunk_rows: tuple[tuple[int, ...], ...]
    """Of each unit, the rows of its chunks."""

    @property
    def num_units(self) -> int:
        return len(self.chunk_rows)

    @functools.cached_property
    def yielding(self) -> frozenset[str]:
        """Trainers that hold up nobody."""
        return frozenset(one.name for one in self.job.trainers if one.lag_policy == "detach")

    @functools.cached_property
    def prepared(self) -> Prepared:
        plan = plan_memory(self.job, {HOOKPOINT: 1}, FORMAT.row_bytes, 0)
        return Prepared(FORMAT, self.num_units, "fingerprint", plan, held_out_contexts=0, nothing_held_out="")

    @functools.cached_property
    def chunks(self) -> dict[int, list[Chunk]]:
        """unit -> what a producer makes of it."""
        return {unit: _chunks(unit, sizes) for unit, sizes in enumerate(self.chunk_rows)}

    @functools.cache  # noqa: B019 (as many jobs as there are numbers)
    def blocks(self, without: tuple[int, ...] = ()) -> list[Rows | None]:
        """Every block of the stream, as lanes give them to whom nothing happens; None where its lane has ended."""
        return _undisturbed(self, without)

    @functools.cache  # noqa: B019
    def digest(self, without: tuple[int, ...] = (), gaps: frozenset[int] = frozenset()) -> tuple[str, str]:
        """Of the whole stream, less the blocks `gaps`."""
        digest = StreamDigest()
        for block, rows in enumerate(self.blocks(without)):
            if rows is not None and block not in gaps:
                digest.update(rows)
        return digest.addresses, digest.bits


@functools.cache
def small_job(number: int) -> SmallJob:
    """One of as many jobs as there are numbers.

    In three of ten some trainer yields; the corpus is twice as long there and the log holds a block at most, or nobody
    would be left behind: a reader has four blocks in hand.
    """
    draw = Random(f"job {number}")
    num_yielding = Random(f"who yields in job {number}").choice([0, 0, 0, 0, 0, 0, 0, 1, 1, 2])
    contexts, context_tokens = draw.choice([1, 2, 3]), 2
    chunk = contexts * context_tokens
    units = tuple(
        tuple([*(chunk for _ in range(draw.randrange(3))), draw.randint(0, chunk)]) for _ in range(draw.randint(3, 9))
    )
    units = ((1,), *units[1:])  # there is a row in every corpus
    units = units * 2 if num_yielding else units
    rows = sum(map(sum, units))
    block_rows = draw.choice([3, 4, 6])
    raw: dict[str, Any] = {
        "name": "small",
        "model": {"name": "model", "hookpoints": [HOOKPOINT]},
        "corpus": {"source": "none", "context_tokens": context_tokens, "unit_contexts": 2 * contexts},
        "producers": {"count": draw.choice([1, 2, 2, 3]), "contexts_per_forward": contexts},
        "stream": {
            "lanes": draw.choice([1, 1, 2, 2, 3]),
            "block_rows": block_rows,
            "buffer_rows": block_rows + draw.choice([0, 3, 8]),
            "log_bytes": min(draw.choice([0, 1, 2, 4]), 1 if num_yielding else 4) * block_rows * FORMAT.row_bytes,
            "spool_bytes": draw.choice([0, 0, 1, 100]) * block_rows * FORMAT.row_bytes,
            "window_units": draw.choice([None, None, 1, 2]),
        },
        "trainers": [
            {
                "name": f"t{index}",
                "architecture": "topk",
                "num_latents": 8,
                "k": 1,
                "lag_policy": "detach" if index < num_yielding else "block",
            }
            for index in range(draw.choice([1, 2, 2, 3]))
        ],
        "tokens": max(1, int(rows * draw.choice([0.6, 0.8, 1.0, 1.0, 1.5]))),
        "checkpoint": {
            "every_blocks": draw.choice([1, 2, 3, 5]),
            "keep": draw.choice([1, 2]),
            "stop_within_s": draw.choice([100.0, 20.0, 2.0, 0.1]),
        },
        "output": "/nowhere",
    }
    return SmallJob(Job.model_validate(raw), units)


NOTHING_SEEN = SeenText(0, Contexts(*[np.zeros((0, 2), np.int64)] * 3), np.zeros((0, 2), bool))


def _chunks(unit: int, sizes: tuple[int, ...]) -> list[Chunk]:
    chunks, start = [], 0
    for number, num_rows in enumerate(sizes):
        rows = FORMAT.empty(num_rows)
        for row in range(num_rows):
            rows.addresses[row] = (unit, 0, (start + row) // 2, start + row, 7)
            rows.activations[HOOKPOINT][row] = 1 + 1000 * unit + start + row
        table = FORMAT.table(rows, unit=unit, chunk=number)
        chunks.append(Chunk(unit, number, len(sizes), sum(sizes), table, 0.0, 0.0, NOTHING_SEEN))
        start += num_rows
    return chunks


def _undisturbed(small: SmallJob, without: tuple[int, ...]) -> list[Rows | None]:
    plan, sizes = StreamPlan.of(small.job), replace(small.prepared.plan.lane, log_bytes=2**30)
    lanes = [
        Lane(index, plan, FORMAT, sizes, small.job.seed, small.num_units, {"reader": 0}, put=_copied)
        for index in range(plan.lanes)
    ]
    for unit in range(small.num_units):
        lane = lanes[unit % plan.lanes]
        if unit in without:
            lane.skip_unit(unit)
        for chunk in small.chunks[unit] if unit not in without else []:
            lane.push(unit, chunk.number, chunk.num_chunks, 1, chunk.table)
            _pump(lane)
    for lane in lanes:
        _pump(lane)
    found = [lanes[block % plan.lanes].fetch("reader", 1, 0, block, 0.0) for block in range(plan.num_blocks)]
    assert LaneEnd.NOT_YET not in found and LaneEnd.GONE not in found
    return [None if isinstance(one, LaneEnd) else one.handle for one in found]


def _pump(lane: Lane) -> None:
    before = None
    while before != (before := lane.counts()):
        for _ in range(3):
            lane.pump(0.0)


def _copied(table: pa.Table) -> Rows:
    rows = read_rows(table)
    return Rows(rows.addresses.copy(), {name: values.copy() for name, values in rows.activations.items()})


class SmallCorpus:
    """What stands for `producers.corpus.Corpus`."""

    fingerprint = "fingerprint"

    @classmethod
    def open(cls, *args: Any) -> "SmallCorpus":
        return cls()


class SmallProducer:
    """What stands for `producers.producer.Producer`: one unit ahead, as there."""

    def __init__(self, job: Job, corpus: SmallCorpus) -> None:
        self._plan = World.current.plan

    def chunks(self, units: Iterable[int]) -> Generator[Chunk]:
        for unit in prefetched(self._packed(unit) for unit in units):
            for chunk in self._plan.small.chunks[unit]:
                World.current.point()
                if self._plan.poison == (unit, chunk.number):
                    self._plan.die_of_poison()
                yield chunk

    def _packed(self, unit: int) -> int:
        World.current.point()
        return unit


class SmallTrainer:
    """What stands for `trainers.Trainer`: its weights are the digest of what it has read, in what order."""

    def __init__(self, config: Any, widths: dict[str, int], seed: int, total_rows: int, device: str = "cpu") -> None:
        self.config, self.seed, self.total_rows = config, seed, total_rows
        self.cursor = self.rows_read = self.gap_rows = self.steps = 0
        self.gaps: list[int] = []
        """Blocks that it passed over though they had rows."""
        self.scales: dict[str, float] = {}
        self.digest = StreamDigest()

    def fix_scales(self, scales: dict[str, float]) -> None:
        self.scales = scales

    def read(self, block: int, rows: Rows) -> None:
        assert block == self.cursor and self.scales
        World.current.point()
        if self.config.lag_policy == "detach":
            World.current.sleep(World.current.random.choice(LAG_S))
        self.digest.update(rows)
        World.current.plan.check_read(self.config.name, block, rows)
        self.cursor += 1
        self.steps += 1
        self.rows_read += rows.num_rows

    def pass_over(self, block: int, gap_rows: int = 0) -> None:
        assert block == self.cursor
        if gap_rows:
            World.current.plan.check_gap(self.config.name, block, gap_rows)
            self.gaps.append(block)
        else:
            World.current.plan.check_read(self.config.name, block, None)
        self.cursor += 1
        self.gap_rows += gap_rows

    def finish(self) -> None:
        """Nothing waits for a batch."""

    def report(self) -> Report:
        return Report(self.rows_read, self.steps, self.cursor, 0.5, 1.0, 0.0, {"loss": 0.5}, 1e-3)

    def save(self, folder: Path) -> None:
        with replace_folder(folder) as temporary:
            World.current.point()
            (temporary / "state.json").write_text(json.dumps(self._state()))

    @classmethod
    def load(cls, folder: Path, config: Any, device: str = "cpu") -> "SmallTrainer":
        World.current.point()
        state = json.loads((folder / "state.json").read_text())
        trainer = cls(config, {}, state["seed"], state["total_rows"])
        trainer.digest = StreamDigest(*state.pop("digest"))
        for name, value in state.items():
            setattr(trainer, name, value)
        return trainer

    def save_sae(self, folder: Path, facts: Any) -> None:
        with replace_folder(folder) as temporary:
            World.current.sleep(World.current.random.choice(SAVING_S))
            (temporary / "weights.json").write_text(json.dumps(self._state()))

    def _state(self) -> dict[str, Any]:
        names = ("seed", "total_rows", "cursor", "rows_read", "steps", "scales", "gap_rows", "gaps")
        digest = [self.digest.addresses, self.digest.bits]
        return {**{name: getattr(self, name) for name in names}, "digest": digest}
