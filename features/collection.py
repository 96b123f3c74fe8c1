"""One pass over text for every SAE of a run: the model has run once, and each collector gets its SAE's codes."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from features.ablation_sums import RowErrors
from features.codes import Codes
from features.collector import Collector
from features.draw import hashed
from features.settings import CollectionSettings
from features.silent_pool import SilentPool
from features.text_batch import TextBatch
from features.texts import Texts


class SaeShape(NamedTuple):
    """What a collector has to know of its SAE."""

    num_latents: int
    d_out: int


class Encoded(NamedTuple):
    """What one SAE made of a batch."""

    codes: Codes
    """Of all rows, sorted by row."""
    errors: RowErrors
    """Of some rows."""


class Collection:
    """The collectors of all SAEs, and the text that they share. Two that saw different text merge."""

    def __init__(self, saes: Mapping[str, SaeShape], context_tokens: int, settings: CollectionSettings) -> None:
        """`saes` by their names."""
        self.settings = settings
        self.collectors = {name: Collector(*shape, settings) for name, shape in saes.items()}
        self.pool = SilentPool(settings.silent_windows, settings.seed, settings.window_tokens)
        self.texts = Texts(context_tokens)
        self.rows = 0
        self.contexts = 0

    def add(self, batch: TextBatch, encoded: Mapping[str, Encoded]) -> None:
        """Takes in a batch and what each SAE made of it."""
        self.rows += batch.num_rows
        self.contexts += len(batch.context_addresses)
        self.texts.add(batch)
        entered, row_draws = self.pool.add(batch), hashed(self.settings.seed, batch.row_addresses)
        for name, collector in self.collectors.items():
            collector.add(batch, *encoded[name], row_draws, entered)

    def settle(self) -> None:
        """Puts in place what waits, and forgets text that nothing is kept of."""
        for collector in self.collectors.values():
            collector.settle()
            collector.keep_in_pool(self.pool.addresses)
        used = [collector.contexts() for collector in self.collectors.values()]
        self.texts.keep(np.concatenate([self.pool.addresses, *used]))

    def merge(self, other: "Collection") -> None:
        """Takes in what another collection of the same SAEs and settings found in other text."""
        assert self.settings == other.settings and self.collectors.keys() == other.collectors.keys()
        self.rows += other.rows
        self.contexts += other.contexts
        self.texts.merge(other.texts)
        pool = other.pool
        self.pool.merge(pool.draws, pool.addresses, pool.documents, pool.lengths)
        for name, collector in self.collectors.items():
            collector.merge(other.collectors[name])
        self.settle()
