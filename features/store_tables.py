"""The Arrow schemas of a feature store, and how its files are written: sorted by latent, eight latents a row group.

pyarrow reads eight latents in 0.7 ms, four in 0.35, sixteen in 1.3, 128 in 4 (2 cores, 2026-11); but each row group is
in the footer, which a reader parses first: of 131,072 latents, eight at a time, 10 MB and 80 ms, four at a time 20 and
265. Without statistics of columns that nobody filters by it is a third less. All that with LZ4 and without
dictionaries, for a third more bytes: Zstandard with dictionaries takes twice as long.
"""

import json
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from shared.files import sync

CATALOG, CONTEXTS, SILENT, NEIGHBORS = "catalog.parquet", "contexts.parquet", "silent.parquet", "neighbors"
GROUP_LATENTS = 8
"""Latents in a row group of contexts.parquet."""
GROUP_LATENTS_KEY, GROUPS_KEY = b"headrace.group_latents", b"headrace.groups"
"""In that file's metadata: how many latents, 16 if it does not say; and row group i's first, in groups of so many.

Where none of a group has contexts there is no row group."""

IDS, VALUES = pa.list_(pa.int32()), pa.list_(pa.float32())

CATALOG_SCHEMA = pa.schema(
    [
        ("latent", pa.int32()),
        ("fired", pa.int64()),
        ("density", pa.float64()),
        ("mean_act", pa.float64()),
        ("mean_act_squared", pa.float64()),
        ("skew", pa.float64()),
        ("kurtosis", pa.float64()),
        ("max_act", pa.float32()),
        ("fvu_share", pa.float64()),
        ("dead", pa.bool_()),
        ("promoted_ids", IDS),
        ("promoted_values", VALUES),
        ("suppressed_ids", IDS),
        ("suppressed_values", VALUES),
        ("nearest_ids", IDS),
        ("nearest_cosines", VALUES),
        ("histogram", pa.list_(pa.int64())),
    ]
)
"""One row a latent, in order; `features.catalog` says what each number is."""

CONTEXTS_SCHEMA = pa.schema(
    [
        ("latent", pa.int32()),
        ("group", pa.string()),
        ("rank", pa.int16()),
        ("split", pa.string()),
        ("document", pa.int64()),
        ("position", pa.int32()),
        ("start", pa.int32()),
        ("max_act", pa.float32()),
        ("tokens", IDS),
        ("acts", VALUES),
    ]
)
SILENT_SCHEMA = pa.schema(
    [
        ("document", pa.int64()),
        ("start", pa.int32()),
        ("split", pa.string()),
        ("tokens", IDS),
        ("latents", IDS),
    ]
)
NEIGHBORS_SCHEMA = pa.schema([("latent", pa.int32()), ("nearest_ids", IDS), ("nearest_cosines", VALUES)])


def lists(values: np.ndarray, lengths: np.ndarray) -> pa.ListArray:
    """Lists of `lengths` [n], cut from `values` in order."""
    offsets = np.zeros(len(lengths) + 1, np.int32)
    np.cumsum(lengths, out=offsets[1:])
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values))


def rows_as_lists(values: np.ndarray) -> pa.ListArray:
    """One list for each row of `values` [n, m]."""
    return lists(np.ascontiguousarray(values).reshape(-1), np.full(len(values), values.shape[1]))


def write_table(path: Path, table: pa.Table) -> None:
    """The table as a Parquet file, whole or not at all."""
    with _replacing(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def write_contexts(path: Path, blocks: Iterable[pa.Table]) -> None:
    """Tables of CONTEXTS_SCHEMA, sorted by latent, none of which splits a group of latents, as one file."""
    with _replacing(path) as temporary, _contexts_writer(temporary) as writer:
        groups: list[int] = []
        for block in blocks:
            group_of = block.column("latent").to_numpy() // GROUP_LATENTS
            found, starts = np.unique(group_of, return_index=True)
            for group, start, stop in zip(found.tolist(), starts, [*starts[1:], len(group_of)], strict=True):
                writer.write_table(block.slice(start, stop - start), row_group_size=stop - start)
                groups.append(group)
        writer.add_key_value_metadata({GROUP_LATENTS_KEY: str(GROUP_LATENTS), GROUPS_KEY: json.dumps(groups)})


def _contexts_writer(path: Path) -> pq.ParquetWriter:
    return pq.ParquetWriter(path, CONTEXTS_SCHEMA, compression="lz4", use_dictionary=False, write_statistics=["latent"])


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """Gives a name to write to; the file becomes `path`, durably, when the block ends without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.tmp")
    try:
        yield temporary
        sync(temporary)
        temporary.replace(path)
        sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)
