"""The features of one SAE on disk: cheap to open, one latent in about a millisecond."""

import json
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from features.context import SILENT as SILENT_GROUP
from features.context import Context
from features.store_meta import META, StoreMeta, read_meta
from features.store_tables import CATALOG, CONTEXTS, GROUP_LATENTS_KEY, GROUPS_KEY, NEIGHBORS, SILENT
from shared.errors import UserError

FEATURES = "features"
"""In a run folder: one folder for each SAE."""


SCAN_ROWS = 2**15
"""Contexts that are in memory at a time when all are looked through."""


class Neighbor(NamedTuple):
    """A latent whose direction is near."""

    trainer: str
    latent: int
    cosine: float


@dataclass(frozen=True, eq=False)
class LatentRecord:
    """A latent's row of the catalogue; see `features.catalog` for what each number is."""

    latent: int
    fired: int
    density: float
    mean_act: float
    mean_act_squared: float
    skew: float | None
    kurtosis: float | None
    max_act: float
    fvu_share: float | None
    dead: bool
    promoted_ids: np.ndarray
    promoted_values: np.ndarray
    suppressed_ids: np.ndarray
    suppressed_values: np.ndarray
    nearest_ids: np.ndarray
    nearest_cosines: np.ndarray
    histogram: np.ndarray


class FeatureStore:
    """Reads what `headrace features collect` wrote for one SAE; may be read by several threads."""

    def __init__(self, folder: Path, meta: StoreMeta) -> None:
        self.folder, self.meta = folder, meta
        self._reading = threading.Lock()

    @classmethod
    def open(cls, folder: Path) -> "FeatureStore":
        """The store in `folder`. Raises UserError if there is none, or one of another version."""
        return cls(folder, read_meta(folder))

    @cached_property
    def catalog(self) -> pa.Table:
        """Every latent's numbers, one row each, in order."""
        return pq.read_table(self.folder / CATALOG).combine_chunks()

    @cached_property
    def numbers(self) -> pa.Table:
        """The catalogue without its lists, which filtering and sorting would copy."""
        lists = [name for name in self.catalog.column_names if pa.types.is_list(self.catalog.schema.field(name).type)]
        return self.catalog.drop_columns(lists)

    def record(self, latent: int) -> LatentRecord:
        """What is known of one latent. Raises UserError if the SAE has no such latent."""
        self._check(latent)
        return LatentRecord(**{name: _value(self.catalog.column(name)[latent]) for name in self.catalog.column_names})

    def contexts(self, latent: int) -> list[Context]:
        """Top contexts first, then those of each range of activation; none of a latent that never fired."""
        self._check(latent)
        group = self._groups.get(latent // self._group_latents)
        if group is None:
            return []
        with self._reading:
            table = self._contexts.read_row_group(group, use_threads=False)
        numbers = table.column("latent").to_numpy()
        start, stop = np.searchsorted(numbers, [latent, latent + 1])
        return _contexts(table.slice(start, stop - start))

    def scan(self, *columns: str) -> Iterator[pa.RecordBatch]:
        """These columns of all contexts, in order, some at a time."""
        yield from pq.ParquetFile(self.folder / CONTEXTS, memory_map=True).iter_batches(SCAN_ROWS, columns=columns)

    def silent(self, latent: int, count: int, split: str | None = None, seed: int = 0) -> list[Context]:
        """At most `count` windows of the pool in which the latent is silent, drawn by `seed`, of one split or both."""
        self._check(latent)
        pool, offsets = self._silent, self._silent_offsets
        fires = np.add.reduceat(np.append(self._silent_latents == latent, False), offsets[:-1]) > 0
        chosen = ~np.where(np.diff(offsets) > 0, fires, False)
        if split is not None:
            chosen &= pc.equal(pool.column("split"), split).to_numpy()
        places = np.random.default_rng((seed, latent)).permutation(np.flatnonzero(chosen))[:count]
        return [self._silent_context(latent, rank, int(place)) for rank, place in enumerate(places)]

    def pool_tokens(self, count: int) -> list[np.ndarray]:
        """int32 [window]: the first windows that were drawn from the whole text, whoever fires in them."""
        return [_value(one) for one in self._silent.column("tokens")[:count]]

    def neighbors(self, latent: int) -> dict[str, list[Neighbor]]:
        """The nearest latents by trainer, this SAE's own included; nearest first."""
        record, trainer = self.record(latent), self.meta.trainer
        found = {trainer: _neighbors(trainer, record.nearest_ids, record.nearest_cosines)}
        for name, table in self._neighbor_tables.items():
            ids, cosines = (_value(table.column(column)[latent]) for column in ("nearest_ids", "nearest_cosines"))
            found[name] = _neighbors(name, ids, cosines)
        return found

    def _check(self, latent: int) -> None:
        if not 0 <= latent < self.meta.num_latents:
            raise UserError(f"{self.meta.trainer} has latents 0 to {self.meta.num_latents - 1}, got {latent}")

    @cached_property
    def _contexts(self) -> pq.ParquetFile:
        return pq.ParquetFile(self.folder / CONTEXTS, memory_map=True)

    @cached_property
    def _groups(self) -> dict[int, int]:
        """Number of so many latents -> row group."""
        found = json.loads(self._contexts.metadata.metadata[GROUPS_KEY])
        return {group: place for place, group in enumerate(found)}

    @cached_property
    def _group_latents(self) -> int:
        return int(self._contexts.metadata.metadata.get(GROUP_LATENTS_KEY, b"16"))

    @cached_property
    def _silent(self) -> pa.Table:
        return pq.read_table(self.folder / SILENT).combine_chunks()

    @cached_property
    def _silent_offsets(self) -> np.ndarray:
        return _chunk(self._silent, "latents").offsets.to_numpy()

    @cached_property
    def _silent_latents(self) -> np.ndarray:
        return _chunk(self._silent, "latents").values.to_numpy()

    def _silent_context(self, latent: int, rank: int, place: int) -> Context:
        row = {name: _value(self._silent.column(name)[place]) for name in ("document", "start", "split", "tokens")}
        acts, start = np.zeros(len(row["tokens"]), np.float32), row["start"]
        return Context(
            latent, SILENT_GROUP, rank, row["split"], row["document"], start, start, 0.0, row["tokens"], acts
        )

    @cached_property
    def _neighbor_tables(self) -> dict[str, pa.Table]:
        files = sorted((self.folder / NEIGHBORS).glob("*.parquet"))
        return {path.stem: pq.read_table(path).combine_chunks() for path in files}


def stored(run_folder: Path) -> list[str]:
    """The names of a run's trainers whose features have been collected."""
    return sorted(path.parent.name for path in (run_folder / FEATURES).glob(f"*/{META}"))


def open_stores(run_folder: Path, names: Sequence[str] = ()) -> dict[str, FeatureStore]:
    """The stores of the SAEs called `names`, or of all that have one.

    Raises:
        UserError: nothing has been collected for one of them, or for any.
    """
    known = stored(run_folder)
    if not known:
        raise UserError(f"{run_folder} has no features yet; collect them with: headrace features collect {run_folder}")
    for name in names:
        if name not in known:
            raise UserError(f"{run_folder} has no features of {name}; it has those of {', '.join(known)}")
    return {name: FeatureStore.open(run_folder / FEATURES / name) for name in names or known}


def _contexts(table: pa.Table) -> list[Context]:
    columns: dict[str, Any] = {name: table.column(name).to_pylist() for name in table.column_names[:-2]}
    for name in ("tokens", "acts"):
        array = _chunk(table, name)
        values, offsets = array.values.to_numpy(), array.offsets.to_numpy()
        columns[name] = [values[start:stop] for start, stop in pairwise(offsets.tolist())]
    return [Context(*row) for row in zip(*columns.values(), strict=True)]


def _neighbors(trainer: str, ids: np.ndarray, cosines: np.ndarray) -> list[Neighbor]:
    return [Neighbor(trainer, *pair) for pair in zip(ids.tolist(), cosines.tolist(), strict=True)]


def _chunk(table: pa.Table, name: str) -> pa.Array:
    column = table.column(name)
    return column.chunk(0) if column.num_chunks else pa.array([], column.type)


def _value(scalar: pa.Scalar) -> Any:
    return scalar.values.to_numpy(zero_copy_only=False) if isinstance(scalar, pa.ListScalar) else scalar.as_py()
