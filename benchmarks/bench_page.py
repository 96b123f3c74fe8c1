"""How fast does the page of `headrace ui` answer: a latent whole, and a filtered catalogue?

A latent's answer is bound by the row group that is read and by some 4,000 tokens that become JSON; a catalogue of
131,072 latents by the search in its promoted tokens. Both in this process, without a network, by the processor time of
all threads and by the wall clock. The goals are 50 ms and 100 ms.

    python -m benchmarks.bench_page runs/demo topk-1024        # features must have been collected
"""

import argparse
import itertools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from fastapi.testclient import TestClient

from benchmarks.measure import Spread, emit
from cluster.catalog_query import NUMBERS, CatalogQuery, Said, Searchable, catalog_page
from cluster.ui_app import create_app
from cluster.ui_runs import Runs
from cluster.vocabulary import Vocabulary

NUM_LATENTS, VOCABULARY, PROMOTED = 131_072, 50_000, 10


def timed(answer: Callable[[], object], repeats: int) -> dict[str, Spread]:
    """Milliseconds of processor and of wall clock, after one that does not count."""
    answer()
    processor, wall = [], []
    for _ in range(repeats):
        begun = time.process_time(), time.perf_counter()
        answer()
        processor.append(1e3 * (time.process_time() - begun[0]))
        wall.append(1e3 * (time.perf_counter() - begun[1]))
    return {"processor_ms": Spread.of(processor), "wall_ms": Spread.of(wall)}


def latent_times(run: Path, sae: str, repeats: int) -> dict[str, Spread]:
    """Of one latent after another, as the browser gets them."""
    client = TestClient(create_app(Runs(run)), base_url="http://127.0.0.1")
    at = f"/api/runs/{run.resolve().name}/features/{sae}/latents"
    numbers = itertools.count()

    def answer() -> None:
        client.get(f"{at}/{next(numbers)}").raise_for_status()

    return timed(answer, repeats)


def catalog_times(repeats: int) -> dict[str, Spread]:
    """Of one page, with two bounds and a word to be found in promoted tokens."""
    vocabulary = Vocabulary(pa.array([f" word{number}" for number in range(VOCABULARY)]))
    searchable = Searchable.of(_catalog(), vocabulary)
    bounds = (("density", 0.2, 0.9), ("fvu_share", 0.1, None))
    query = CatalogQuery("max_act", True, text="word77", state="alive", bounds=bounds)
    return timed(lambda: catalog_page(searchable, Said({}, {}, ()), query, vocabulary), repeats)


def _catalog() -> pa.Table:
    draw = np.random.default_rng(0)
    ids = draw.integers(0, VOCABULARY, PROMOTED * NUM_LATENTS, np.int32)
    starts = np.arange(0, PROMOTED * NUM_LATENTS + 1, PROMOTED, dtype=np.int32)
    columns: dict[str, Any] = {name: draw.random(NUM_LATENTS) for name in NUMBERS}
    columns |= {"latent": np.arange(NUM_LATENTS, dtype=np.int32), "dead": draw.random(NUM_LATENTS) < 0.1}
    return pa.table({**columns, "promoted_ids": pa.ListArray.from_arrays(pa.array(starts), pa.array(ids))})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("sae")
    parser.add_argument("--repeats", type=int, default=100)
    arguments = parser.parse_args()
    found = {
        "latent": latent_times(arguments.run, arguments.sae, arguments.repeats),
        "catalog": catalog_times(arguments.repeats),
    }
    for name, times in found.items():
        print(name, ", ".join(f"{kind} {spread}" for kind, spread in times.items()))
    emit("page", vars(arguments), found)


if __name__ == "__main__":
    main()
