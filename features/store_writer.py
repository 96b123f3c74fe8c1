"""Writes what was collected for one SAE; `meta.json` comes last, so that half a store is none."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa

from features.catalog import Nearest
from features.store_meta import META, StoreMeta
from features.store_tables import (
    CATALOG,
    CONTEXTS,
    NEIGHBORS,
    NEIGHBORS_SCHEMA,
    SILENT,
    rows_as_lists,
    write_contexts,
    write_table,
)


def write_store(
    folder: Path,
    meta: StoreMeta,
    catalog: pa.Table,
    contexts: Iterable[pa.Table],
    silent: pa.Table,
    neighbors: Mapping[str, Nearest],
) -> None:
    """Replaces what `folder` holds of an earlier collection; labels, explanations and scores stay.

    `neighbors` are the nearest latents of other SAEs, by their names.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / META).unlink(missing_ok=True)
    write_table(folder / CATALOG, catalog)
    write_contexts(folder / CONTEXTS, contexts)
    write_table(folder / SILENT, silent)
    for path in (folder / NEIGHBORS).glob("*.parquet"):
        path.unlink()
    for name, found in neighbors.items():
        write_table(folder / NEIGHBORS / f"{name}.parquet", _neighbors_table(found))
    meta.write(folder)


def _neighbors_table(found: Nearest) -> pa.Table:
    latents = pa.array(np.arange(len(found.ids), dtype=np.int32))
    columns = [latents, rows_as_lists(found.ids), rows_as_lists(found.cosines)]
    return pa.Table.from_arrays(columns, schema=NEIGHBORS_SCHEMA)
