"""Activations that are the greatest of their window: what stored contexts are built around.

A latent's strongest activation in a document is one of them, and so is what is drawn from a range of activation: the
number by which a context is sorted in is then the greatest that it shows.
"""

from typing import NamedTuple, Self

import numpy as np

from features.codes import Codes
from features.text_batch import TextBatch, position_of


class Peaks(NamedTuple):
    """N peaks; windows are W tokens long or shorter."""

    latents: np.ndarray
    """int32 [N]"""
    values: np.ndarray
    """float32 [N]"""
    addresses: np.ndarray
    """int64 [N], of the peaks themselves."""
    documents: np.ndarray
    """int64 [N]"""
    draws: np.ndarray
    """uint64 [N]: the least are kept, where some are drawn."""
    starts: np.ndarray
    """int32 [N]: the position of the window's first token."""
    lengths: np.ndarray
    """int32 [N]"""
    acts: np.ndarray
    """float32 [N, W]: the latent's at each token of the window; zeros after its end."""

    @classmethod
    def joined(cls, parts: "list[Peaks]") -> Self:
        return cls(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))

    def at(self, chosen: np.ndarray) -> "Peaks":
        """Those at places or where a mask is true."""
        return Peaks(*(column[chosen] for column in self))

    def without_acts(self) -> "Peaks":
        """For sorting: everything but what is seen in the windows."""
        return self._replace(acts=self.acts[:, :0])


def peaks_among(codes: Codes, chosen: np.ndarray, draws: np.ndarray, batch: TextBatch, window_tokens: int) -> Peaks:
    """Those of `codes` [N], sorted by latent, at the places `chosen` that are the greatest of their windows.

    Of equal activations in a window the first is the greatest.
    """
    places = batch.row_places[codes.rows]
    starts, lengths = batch.windows_around(places[chosen], window_tokens)
    acts = _acts_in(codes, places, codes.latents[chosen], starts, lengths, batch.num_places, window_tokens)
    is_peak = acts.argmax(1) == places[chosen] - starts
    chosen, starts, lengths, acts = chosen[is_peak], starts[is_peak], lengths[is_peak], acts[is_peak]
    return Peaks(
        codes.latents[chosen],
        codes.values[chosen],
        batch.addresses_of(places[chosen]),
        batch.documents_of(places[chosen]),
        draws[chosen],
        position_of(batch.addresses_of(starts)).astype(np.int32),
        lengths.astype(np.int32),
        acts,
    )


def _acts_in(
    codes: Codes,
    places: np.ndarray,
    latents: np.ndarray,
    starts: np.ndarray,
    lengths: np.ndarray,
    num_places: int,
    window_tokens: int,
) -> np.ndarray:
    """float32 [n, W]: of `latents` [n], what they are in the windows; `places` [N] are those of the codes."""
    keys = codes.latents.astype(np.int64) * num_places + places
    first = latents.astype(np.int64) * num_places + starts
    begin, end = np.searchsorted(keys, first), np.searchsorted(keys, first + lengths)
    counts = end - begin
    window = np.repeat(np.arange(len(latents)), counts)
    found = np.arange(counts.sum()) + np.repeat(begin - np.cumsum(counts) + counts, counts)
    acts = np.zeros((len(latents), window_tokens), np.float32)
    acts[window, places[found] - starts[window]] = codes.values[found]
    return acts
