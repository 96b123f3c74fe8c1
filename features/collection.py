"""One pass over text for every SAE of a run: the model has run once, and each collector gets its SAE's codes."""

from collections.abc import Mapping

import numpy as np

from features.codes import Codes
from features.collector import Collector
from features.settings import CollectionSettings
from features.silent_pool import SilentPool
from features.text_batch import TextBatch
from features.texts import Texts


class Collection:
    """The collectors of all SAEs, and the text that they share. Two that saw different text merge."""

    def __init__(self, num_latents: Mapping[str, int], context_tokens: int, settings: CollectionSettings) -> None:
        """`num_latents` of each SAE by its name."""
        self.settings = settings
        self.collectors = {name: Collector(count, settings) for name, count in num_latents.items()}
        self.pool = SilentPool(settings.silent_windows, settings.seed, settings.window_tokens)
        self.texts = Texts(context_tokens)
        self.rows = 0
        self.contexts = 0

    def add(self, batch: TextBatch, codes: Mapping[str, Codes]) -> None:
        """Takes in a batch and, of each SAE, the codes of its rows."""
        self.rows += batch.num_rows
        self.contexts += len(batch.context_addresses)
        self.texts.add(batch)
        entered = self.pool.add(batch)
        for name, collector in self.collectors.items():
            collector.add(batch, codes[name], entered)

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
