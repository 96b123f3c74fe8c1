"""The tokens of contexts that something is kept of."""

import numpy as np

from features.text_batch import TextBatch, context_address, position_of


class Texts:
    """Contexts by their addresses, T tokens each."""

    def __init__(self, context_tokens: int) -> None:
        self.addresses = np.zeros(0, np.int64)
        """int64 [C], rising but for what waits in `_new`."""
        self.token_ids = np.zeros((0, context_tokens), np.int32)
        self._new: list[tuple[np.ndarray, np.ndarray]] = []

    def add(self, batch: TextBatch) -> None:
        self._new.append((batch.context_addresses, batch.token_ids))

    def settle(self) -> None:
        """Puts new contexts in their order."""
        parts = [(self.addresses, self.token_ids), *self._new]
        addresses, token_ids = (np.concatenate(columns) for columns in zip(*parts, strict=True))
        order = np.argsort(addresses)
        self.addresses, self.token_ids, self._new = addresses[order], token_ids[order], []

    def merge(self, other: "Texts") -> None:
        other.settle()
        self._new.append((other.addresses, other.token_ids))

    def keep(self, addresses: np.ndarray) -> None:
        """Forgets every context that holds none of the tokens at `addresses`."""
        self.settle()
        used = np.isin(self.addresses, context_address(addresses))
        self.addresses, self.token_ids = self.addresses[used], self.token_ids[used]

    def windows(self, addresses: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """int32, joined: the tokens of windows that begin at `addresses` [n] and are `lengths` [n] long."""
        context = np.searchsorted(self.addresses, context_address(addresses))
        first = context * self.token_ids.shape[1] + position_of(addresses)
        within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        return self.token_ids.reshape(-1)[np.repeat(first, lengths) + within]
