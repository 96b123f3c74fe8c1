"""The store's row groups: each latent is found in its own, however many latents a file has in one."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features import store_tables
from features.store import FeatureStore
from features.store_tables import CONTEXTS, CONTEXTS_SCHEMA, GROUP_LATENTS_KEY, lists, write_contexts

NUM_LATENTS = 70
COUNTS = {0: 2, 3: 1, 7: 4, 8: 1, 33: 3, 47: 2, 69: 1}
"""Contexts of those latents that have any."""


def contexts_of(latents: list[int]) -> pa.Table:
    """As many as COUNTS says; the tokens of each are its latent, as often as its rank and one more."""
    rows = [(latent, rank) for latent in latents for rank in range(COUNTS[latent])]
    numbers, ranks = (np.array(column) for column in zip(*rows, strict=True))
    tokens = np.repeat(numbers, ranks + 1)
    acts = lists(tokens.astype(np.float32), ranks + 1)
    plain: dict[str, Any] = {name: ranks for name in ("rank", "document", "position", "start", "max_act")}
    texts = {"group": ["top"] * len(rows), "split": ["judge"] * len(rows)}
    columns = {"latent": numbers, **plain, **texts, "tokens": lists(tokens.astype(np.int32), ranks + 1), "acts": acts}
    return pa.table({name: pa.array(columns[name]) for name in CONTEXTS_SCHEMA.names}).cast(CONTEXTS_SCHEMA)


@pytest.mark.parametrize("group_latents", [1, 8, 16])
def test_every_latent_has_its_own_contexts(group_latents: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_tables, "GROUP_LATENTS", group_latents)
    write_contexts(tmp_path / CONTEXTS, [contexts_of([0, 3, 7, 8]), contexts_of([33, 47, 69])])
    store = FeatureStore(tmp_path, cast(Any, SimpleNamespace(num_latents=NUM_LATENTS, trainer="t")))
    for latent in range(NUM_LATENTS):
        found = store.contexts(latent)
        assert [one.tokens.tolist() for one in found] == [
            [latent] * (1 + rank) for rank in range(COUNTS.get(latent, 0))
        ]
    file = pq.ParquetFile(tmp_path / CONTEXTS)
    assert file.metadata.num_row_groups == len({latent // group_latents for latent in COUNTS})
    assert [rows.num_rows for rows in store.scan("latent", "acts")] == [sum(COUNTS.values())]


def test_a_file_that_does_not_say_has_sixteen_latents_in_a_row_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_tables, "GROUP_LATENTS", 16)
    monkeypatch.setattr(store_tables, "GROUP_LATENTS_KEY", b"headrace.other")
    write_contexts(tmp_path / CONTEXTS, [contexts_of([*COUNTS])])
    assert GROUP_LATENTS_KEY not in pq.ParquetFile(tmp_path / CONTEXTS).metadata.metadata
    store = FeatureStore(tmp_path, cast(Any, SimpleNamespace(num_latents=NUM_LATENTS, trainer="t")))
    assert [len(store.contexts(latent)) for latent in COUNTS] == [*COUNTS.values()]
