"""What a collector holds, as the tables that the store is made of."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from features.collector import Collector
from features.context import BINS, EXPLAIN, JUDGE, TOP
from features.draw import is_judged
from features.peaks import Peaks
from features.silent_pool import SilentPool
from features.slots import Slots
from features.store_tables import CONTEXTS_SCHEMA, GROUP_LATENTS, SILENT_SCHEMA, lists
from features.text_batch import context_address, position_of
from features.texts import Texts

BLOCK_LATENTS = 512 * GROUP_LATENTS
"""Whose contexts are in memory twice at a time."""


def contexts_tables(collector: Collector, texts: Texts, seed: int) -> Iterator[pa.Table]:
    """CONTEXTS_SCHEMA, sorted by latent, group and rank."""
    for start in range(0, collector.num_latents, BLOCK_LATENTS):
        latents = np.arange(start, min(start + BLOCK_LATENTS, collector.num_latents), dtype=np.int32)
        top, sampled = collector.top.held(latents), collector.samples.held(latents)
        group = np.concatenate([np.zeros(len(top.latents), np.int64), 1 + collector.samples.ranges_of(sampled)])
        rank = np.concatenate([slots.ranks(held) for slots, held in _pairs(collector, top, sampled)])
        peaks = Peaks.joined([top, sampled])
        order = np.lexsort((rank, group, peaks.latents))
        yield _table(peaks.at(order), group[order], rank[order], texts, seed)


def silent_table(pool: SilentPool, collector: Collector, texts: Texts, seed: int) -> pa.Table:
    """SILENT_SCHEMA, in the order in which the windows were drawn."""
    fires = [np.unique(collector.pool_latents[address]) for address in pool.addresses.tolist()]
    columns = [
        pa.array(pool.documents),
        pa.array(position_of(pool.addresses).astype(np.int32)),
        _splits(pool.documents, seed),
        lists(texts.windows(pool.addresses, pool.lengths), pool.lengths),
        lists(np.concatenate([np.zeros(0, np.int32), *fires]), np.array([len(one) for one in fires], np.int64)),
    ]
    return pa.Table.from_arrays(columns, schema=SILENT_SCHEMA)


def _pairs(collector: Collector, top: Peaks, sampled: Peaks) -> list[tuple[Slots, Peaks]]:
    return [(collector.top, top), (collector.samples, sampled)]


def _table(peaks: Peaks, group: np.ndarray, rank: np.ndarray, texts: Texts, seed: int) -> pa.Table:
    starts = context_address(peaks.addresses) + peaks.starts
    is_text = np.arange(peaks.acts.shape[1]) < peaks.lengths[:, None]
    columns = [
        pa.array(peaks.latents),
        pa.array(np.array([TOP, *BINS], object)[group], pa.string()),
        pa.array(rank.astype(np.int16)),
        _splits(peaks.documents, seed),
        pa.array(peaks.documents),
        pa.array(position_of(peaks.addresses).astype(np.int32)),
        pa.array(peaks.starts),
        pa.array(peaks.values),
        lists(texts.windows(starts, peaks.lengths), peaks.lengths),
        lists(peaks.acts[is_text], peaks.lengths),
    ]
    return pa.Table.from_arrays(columns, schema=CONTEXTS_SCHEMA)


def _splits(documents: np.ndarray, seed: int) -> pa.Array:
    return pa.array(np.array([EXPLAIN, JUDGE], object)[is_judged(seed, documents).astype(int)], pa.string())
