"""Windows drawn from the whole text, the same for every SAE of a run, with the latents that fire in each.

A latent's silent contexts are those of the pool in which it does not fire.
"""

import numpy as np

from features.codes import Codes
from features.draw import hashed
from features.text_batch import TextBatch


class SilentPool:
    """At most `size` windows: those that are drawn first."""

    def __init__(self, size: int, seed: int, window_tokens: int) -> None:
        self._size, self._seed, self._window_tokens = size, seed, window_tokens
        self.draws = np.zeros(0, np.uint64)
        """Rising."""
        self.addresses = np.zeros(0, np.int64)
        """Of the windows' first tokens."""
        self.documents = np.zeros(0, np.int64)
        self.lengths = np.zeros(0, np.int32)

    def add(self, batch: TextBatch) -> np.ndarray:
        """Draws from a batch; the places at which windows that are new in the pool begin, and their lengths, [2, n].

        The text is cut into windows that do not overlap; a piece shorter than half of one counts only where its
        document is no longer in that context.
        """
        places, lengths = self._windows(batch)
        addresses = batch.addresses_of(places)
        draws = hashed(self._seed, addresses)
        if len(self.draws) == self._size:
            is_early = draws < self.draws[-1:] if self._size else np.zeros(len(draws), bool)
            places, lengths, addresses, draws = (one[is_early] for one in (places, lengths, addresses, draws))
        self.merge(draws, addresses, batch.documents_of(places), lengths.astype(np.int32))
        entered = np.isin(addresses, self.addresses)
        return np.stack([places[entered], lengths[entered]])

    def merge(self, draws: np.ndarray, addresses: np.ndarray, documents: np.ndarray, lengths: np.ndarray) -> None:
        """Takes in other windows, [n] each."""
        columns = (self.draws, draws), (self.addresses, addresses), (self.documents, documents), (self.lengths, lengths)
        joined = [np.concatenate(pair) for pair in columns]
        first = np.lexsort((joined[1], joined[0]))[: self._size]
        self.draws, self.addresses, self.documents, self.lengths = (column[first] for column in joined)

    def _windows(self, batch: TextBatch) -> tuple[np.ndarray, np.ndarray]:
        begin, end = batch.stretches
        places = np.arange(batch.num_places)
        offset = places - begin
        lengths = np.minimum(end - places, self._window_tokens)
        chosen = (offset % self._window_tokens == 0) & ((lengths >= self._window_tokens // 2) | (offset == 0))
        chosen &= batch.is_text
        return places[chosen], lengths[chosen]


def latents_in(codes: Codes, batch: TextBatch, windows: np.ndarray) -> list[np.ndarray]:
    """int32, each as often as it fires: the latents in windows [2, n] of places and lengths, of codes sorted by row."""
    places, lengths = windows
    rows = np.searchsorted(batch.row_places, [places, places + lengths])
    return [codes.latents[start:stop].copy() for start, stop in np.searchsorted(codes.rows, rows).T.tolist()]
