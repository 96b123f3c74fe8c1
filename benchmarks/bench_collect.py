"""What does it cost to collect the features of four SAEs beside the producer's own work, and how fast is a store read?

Bound by the SAEs' encoder products, 2 rows d_in num_latents operations each, and by the choice of k latents, which a
collection cannot do without; `encoded` is the side that does no more than that. The goal is to collect at half of the
bare producer's speed or better. All sides read other units of the standard library at each turn, and are timed by the
processor time of all their threads, so that other programs count little. `of_bare` is the ratio to the neighbour.

Each turn begins with an empty collection, which costs most since everything is kept, or with one that has read
`--fill-units` of other text, as most of a long run is; and ends with what waits put in place.

`store`, in milliseconds of the wall clock and of the processor: one latent's record and its 64 contexts of 64 tokens,
for the second time, so that the disk is no part of it, but decoding a row group of eight latents is; and a catalogue of
131,072 latents filtered by three numbers, sorted by a fourth, its first 50 rows made into Python.

    python -m benchmarks.bench_collect --width 128 768 --fill-units 24
"""

import argparse
import copy
import itertools
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import torch
import yaml

from benchmarks.inputs import CONTEXT_TOKENS, HOOKPOINT, write_model
from benchmarks.measure import Spread, emit, in_turn, ratio
from cluster.collection_pass import text_batch
from cluster.encoding import encode_rows, tensors
from cluster.evaluation import Subject
from features.ablation_sums import RowErrors
from features.catalog import Lens, Nearest, catalog_table
from features.codes import Codes
from features.collection import Collection, Encoded, SaeShape
from features.contexts_table import contexts_tables, silent_table
from features.histogram import EDGES
from features.moments import Moments
from features.settings import CollectionSettings
from features.store import FeatureStore
from features.store_meta import StoreMeta
from features.store_writer import write_store
from features.text_batch import TextBatch
from producers.producer import Chunk, Producer
from shared.job_file import parse_job
from trainers.topk import TopK

UNIT_CONTEXTS = 64
CATALOG_LATENTS, STORED_LATENTS = 131_072, 4096
SEED = 0


def sides(model: Path, width: int, sizes: list[int], arguments: argparse.Namespace) -> dict[str, Callable[[], float]]:
    """Rows a processor-second of each side over some units."""
    producer = Producer(_job(model, arguments))
    subjects = [_subject(size, width, arguments.k) for size in sizes]
    filled = Collection(
        {one.name: SaeShape(one.sae.num_latents, width) for one in subjects}, CONTEXT_TOKENS, CollectionSettings()
    )
    units = itertools.cycle(range(producer.corpus.num_units))
    cpu = torch.device("cpu")

    def encode(chunk: Chunk) -> tuple[TextBatch, dict[str, Any]]:
        rows = tensors(producer.row_format.rows(chunk.table), cpu)
        return text_batch(chunk), {one.name: encode_rows(one, rows) for one in subjects}

    def timed(of_chunk: Callable[[Chunk], object], at_end: Callable[[], object] = lambda: None) -> float:
        wanted, rows, begun = list(itertools.islice(units, arguments.units)), 0, time.process_time()
        for chunk in producer.chunks(wanted):
            of_chunk(chunk)
            rows += chunk.table.num_rows
        at_end()
        return rows / (time.process_time() - begun)

    def collected() -> float:
        collection = copy.deepcopy(filled)
        return timed(lambda chunk: collection.add(*encode(chunk)), collection.settle)

    for chunk in producer.chunks(list(itertools.islice(units, arguments.fill_units))):
        filled.add(*encode(chunk))
    filled.settle()
    return {"bare": lambda: timed(lambda chunk: None), "encoded": lambda: timed(encode), "collected": collected}


def compared(width: int, folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """One width; where no sizes are asked for, with SAEs of 2, 4, 4 and 8 times as many latents."""
    model = write_model(folder / f"model-{width}", width)
    sizes = arguments.latents or [2 * width, 4 * width, 4 * width, 8 * width]
    found = in_turn(sides(model, width, sizes, arguments), arguments.rounds, arguments.warmups)
    shares = {f"{name}_of_bare": ratio(found[name], found["bare"]) for name in ("encoded", "collected")}
    speeds = {f"{name}_rows_per_s": Spread.of(values) for name, values in found.items()}
    return {"width": width, "num_latents": sizes, **speeds, **shares}


def store_times(folder: Path) -> dict[str, Spread]:
    """Milliseconds of reading one latent, and of filtering a large catalogue."""
    store, draw = _stored(folder), np.random.default_rng(SEED)
    reads, latents = [], draw.integers(0, STORED_LATENTS, 400).tolist()
    for latent in latents:
        store.record(latent)
        store.contexts(latent)
    for latent in latents:
        begun, busy = time.perf_counter(), time.process_time()
        store.record(latent)
        store.contexts(latent)
        reads.append((1e3 * (time.perf_counter() - begun), 1e3 * (time.process_time() - busy)))
    catalog, filters = store.catalog, []
    for _ in range(20):
        begun, busy = time.perf_counter(), time.process_time()
        chosen = (pc.field("density") < 0.01) & (pc.field("max_act") > 1.0) & (pc.field("skew") > 1.0)
        found = store.numbers.filter(chosen).sort_by([("fvu_share", "descending")]).slice(0, 50)
        shown = catalog.take(found.column("latent")).to_pylist()
        filters.append((1e3 * (time.perf_counter() - begun), 1e3 * (time.process_time() - busy)))
        assert len(shown) == 50
    clocks = ("wall", "processor")
    return {
        f"{what}_{clock}_ms": Spread.of(values)
        for what, times in (("latent", reads), ("catalog_filter", filters))
        for clock, values in zip(clocks, zip(*times, strict=True), strict=True)
    }


def _stored(folder: Path) -> FeatureStore:
    """A store with numbers for 131,072 latents, and contexts of the first of them."""
    draw, settings = np.random.default_rng(SEED), CollectionSettings()
    collection = Collection({"t": SaeShape(STORED_LATENTS, 4)}, CONTEXT_TOKENS, settings)
    _fill(collection, draw)
    moments = Moments.none(CATALOG_LATENTS)
    moments.rows = 10**6
    moments.fired[:] = draw.integers(0, 30_000, CATALOG_LATENTS)
    moments.max_act[:] = draw.exponential(2, CATALOG_LATENTS)
    moments.sums[:] = np.cumsum(draw.exponential(size=(4, CATALOG_LATENTS)) * moments.fired, axis=0)
    ids = draw.integers(0, CATALOG_LATENTS, (CATALOG_LATENTS, 10)).astype(np.int32)
    values = draw.random((CATALOG_LATENTS, 10)).astype(np.float32)
    meta = StoreMeta(
        "bench", "t", "topk", CATALOG_LATENTS, 4, "m", "r", "m", ("h",), ("h",), "drawn", 10**6, 8000,
        CONTEXT_TOKENS, settings.window_tokens, SEED, None, settings.top_contexts, settings.samples_per_bin, EDGES,
    )  # fmt: skip
    collector = collection.collectors["t"]
    write_store(
        folder,
        meta,
        catalog_table(moments, draw.random(CATALOG_LATENTS), Lens(ids, values, ids, values), Nearest(ids, values)),
        contexts_tables(collector, collection.texts, SEED),
        silent_table(collection.pool, collector, collection.texts, SEED),
        {},
    )
    return FeatureStore.open(folder)


def _fill(collection: Collection, draw: np.random.Generator) -> None:
    """Text of drawn tokens, on which each latent fires on about two tokens in a hundred."""
    contexts, nothing = 32, RowErrors(0, np.zeros(0, np.int32), np.zeros(0), np.zeros(4), 0.0)
    for unit in range(12):
        shape = (contexts, CONTEXT_TOKENS)
        documents = np.repeat(np.arange(contexts)[:, None], CONTEXT_TOKENS, 1)
        batch = TextBatch(unit, 0, draw.integers(0, 4096, shape), documents, np.ones(shape, bool))
        per_row = STORED_LATENTS // 50
        rows = np.repeat(np.arange(batch.num_rows, dtype=np.int32), per_row)
        latents = draw.integers(0, STORED_LATENTS, len(rows)).astype(np.int32)
        key = np.unique(rows.astype(np.int64) * STORED_LATENTS + latents)
        rows, latents = (key // STORED_LATENTS).astype(np.int32), (key % STORED_LATENTS).astype(np.int32)
        values = draw.exponential(2, len(key)).astype(np.float32) + np.float32(1e-3)
        collection.add(batch, {"t": Encoded(Codes(rows, latents, values), nothing)})
    collection.settle()


def _subject(num_latents: int, width: int, k: int) -> Subject:
    """A TopK SAE of random directions."""
    sae = TopK(width, num_latents, k)
    with torch.no_grad():
        sae.W_dec.normal_(generator=torch.Generator().manual_seed(num_latents))
        sae.W_dec.div_(torch.linalg.vector_norm(sae.W_dec, dim=1, keepdim=True))
        sae.W_enc.copy_(sae.W_dec)
    return Subject(f"topk-{num_latents}-{id(sae)}", sae.eval(), (HOOKPOINT,), (HOOKPOINT,))


def _job(model: Path, arguments: argparse.Namespace) -> Any:
    job = {
        "name": "bench",
        "model": {"name": str(model), "hookpoints": [HOOKPOINT], "dtype": "float32", "device": "cpu"},
        "corpus": {"source": "stdlib", "context_tokens": CONTEXT_TOKENS, "unit_contexts": UNIT_CONTEXTS},
        "producers": {"contexts_per_forward": 32, "threads": 1},
        "trainers": [{"name": "t", "architecture": "topk", "num_latents": 64, "k": 8}],
        "tokens": 10**9,
    }
    return parse_job(yaml.safe_dump(job))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--width", type=int, nargs="*", default=[128, 768])
    parser.add_argument("--latents", type=int, nargs="*", help="of each SAE; by default multiples of the width")
    parser.add_argument("--k", type=int, default=32)
    parser.add_argument("--units", type=int, default=2)
    parser.add_argument("--fill-units", type=int, default=0, help="read by the collection before it is measured")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--warmups", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        times = store_times(Path(folder) / "store")
        print({name: str(spread) for name, spread in times.items()}, flush=True)
        results = [compared(width, Path(folder), arguments) for width in arguments.width]
    for one in results:
        print(
            f"width {one['width']}: {one['collected_of_bare']} of the bare producer, {one['encoded_of_bare']} encoded"
        )
    emit("collect", vars(arguments), {"store": times, "collect": results})


if __name__ == "__main__":
    main()
