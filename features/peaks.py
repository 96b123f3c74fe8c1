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


class Standing(NamedTuple):
    """Activations that are the greatest of their windows; of equal ones in a window the first is."""

    places: np.ndarray
    """int64 [n], rising: in the codes."""
    begins: np.ndarray
    ends: np.ndarray
    """int64 [n]: from where to where the latent's codes are in the window."""


def standing_among(codes: Codes, chosen: np.ndarray, batch: TextBatch, window_tokens: int) -> Standing:
    """Those of `codes`, sorted by latent, at the places `chosen` that stand.

    Each is compared with its neighbours, one further at each turn, until it is beaten or its window ends. Most are
    beaten by the first, so that windows are built of a few.
    """
    starts, lengths = batch.windows_around(batch.row_places, window_tokens)
    first, stop = np.searchsorted(batch.row_places, np.stack([starts, starts + lengths]))
    # latents and rows as one number, with one more on each side that is in no window
    latents = codes.latents.astype(np.int64) * batch.num_rows
    keys = np.concatenate([[-1], latents + codes.rows, [np.iinfo(np.int64).max]])
    values = np.pad(codes.values, 1)
    # backwards first: of many that are equal all but one are beaten at once
    begins = _walk(keys, values, chosen, latents[chosen] + first[codes.rows[chosen]], -1)
    chosen, begins = chosen[begins >= 0], begins[begins >= 0]
    lasts = _walk(keys, values, chosen, latents[chosen] + stop[codes.rows[chosen]] - 1, 1)
    stands = lasts >= 0
    return Standing(chosen[stands], begins[stands], lasts[stands] + 1)


def _walk(keys: np.ndarray, values: np.ndarray, chosen: np.ndarray, last_keys: np.ndarray, step: int) -> np.ndarray:
    """int64 [n]: the last of the codes that is not beyond `last_keys`, in the direction of `step`; -1 where beaten.

    Of equal values the earlier beats the later. `keys` and `values` begin one before the codes.
    """
    reached, own = chosen.copy(), values[chosen + 1]
    going, at = np.arange(len(chosen)), chosen + 1
    beats = np.greater if step > 0 else np.greater_equal
    while len(going):
        at = at + step
        is_inside = step * (keys[at] - last_keys[going]) <= 0
        going, at = going[is_inside], at[is_inside]
        is_beaten = beats(values[at], own[going])
        reached[going] = np.where(is_beaten, -1, at - 1)
        going, at = going[~is_beaten], at[~is_beaten]
    return reached


def greatest_of_documents(codes: Codes, chosen: np.ndarray, documents: np.ndarray) -> np.ndarray:
    """Of `codes`, sorted by latent, at the places `chosen`, the places of the first greatest of a latent and document.

    Args:
        documents: int64 [rows]; where one goes on after another, it counts as a new one.
    """
    if len(chosen) == 0:
        return chosen
    latents, values, of_row = codes.latents[chosen], codes.values[chosen], documents[codes.rows[chosen]]
    begins = np.flatnonzero(changes(latents) | changes(of_row))
    greatest = np.maximum.reduceat(values, begins)
    group = np.repeat(np.arange(len(begins)), np.diff(begins, append=len(chosen)))
    equal = np.flatnonzero(values == greatest[group])
    return chosen[equal[changes(group[equal])]]


def peaks_of(codes: Codes, standing: Standing, draws: np.ndarray, batch: TextBatch, window_tokens: int) -> Peaks:
    """With their windows. `draws` [N] are of all the codes."""
    chosen = standing.places
    places = batch.row_places[codes.rows[chosen]]
    starts, lengths = batch.windows_around(places, window_tokens)
    return Peaks(
        codes.latents[chosen],
        codes.values[chosen],
        batch.addresses_of(places),
        batch.documents_of(places),
        draws[chosen],
        position_of(batch.addresses_of(starts)).astype(np.int32),
        lengths.astype(np.int32),
        _acts_in(codes, standing, batch.row_places, starts, window_tokens),
    )


def _acts_in(
    codes: Codes, standing: Standing, row_places: np.ndarray, starts: np.ndarray, window_tokens: int
) -> np.ndarray:
    """float32 [n, W]: what the latents are in windows that begin at the places `starts`."""
    counts = standing.ends - standing.begins
    offsets = np.cumsum(counts) - counts
    found = np.arange(counts.sum()) + np.repeat(standing.begins - offsets, counts)
    first = np.arange(0, len(counts) * window_tokens, window_tokens) - starts
    acts = np.zeros((len(counts), window_tokens), np.float32)
    acts.reshape(-1)[row_places[codes.rows[found]] + np.repeat(first, counts)] = codes.values[found]
    return acts


def changes(values: np.ndarray) -> np.ndarray:
    """bool: where a value is not the one before it."""
    changed = np.ones(len(values), bool)
    changed[1:] = values[1:] != values[:-1]
    return changed
