"""Latents by words: those that fire on them in their contexts, and those whose label or explanation has them.

A word in a context is found by its token ids, as the tokenizer spells it at the beginning of a text and within one,
small and capitalised; and within single tokens of the vocabulary, so that `port` also finds `import`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features.context import TOP
from features.store import FeatureStore


class WordHit(NamedTuple):
    """A latent that fires on the words."""

    latent: int
    share: float
    """Of its activation in its top contexts, how much falls on the words."""
    contexts: int
    """Of its top contexts, in how many it fires on them."""


class Spelling(NamedTuple):
    """How words may stand in a text."""

    is_part: np.ndarray
    """bool [vocabulary]: the token has the words in it."""
    sequences: tuple[tuple[int, ...], ...]
    """Of two tokens or more."""

    def marks(self, tokens: np.ndarray, texts: np.ndarray) -> np.ndarray:
        """bool [n]: which of `tokens` [n] are of the words; `texts` [n] numbers the texts that they are in."""
        found = self.is_part[tokens]
        for sequence in self.sequences:
            length = len(sequence)
            if len(tokens) < length:
                continue
            begins = texts[: len(tokens) - length + 1] == texts[length - 1 :]
            for place, token in enumerate(sequence):
                begins &= tokens[place : len(tokens) - length + 1 + place] == token
            for place in range(length):
                found[place : place + len(begins)] |= begins
        return found


def spelling(words: str, vocabulary: Sequence[str], encode: Callable[[str], Sequence[int]]) -> Spelling:
    """How `words` are spelled by a tokenizer: `vocabulary` as each token reads, `encode` without special tokens."""
    wanted = words.strip().lower()
    is_part = np.array([wanted in token.lower() for token in vocabulary], bool)
    forms = {form for one in (words.strip(), wanted, wanted.capitalize()) for form in (one, f" {one}")}
    sequences = {tuple(encode(form)) for form in forms}
    return Spelling(is_part, tuple(sorted(one for one in sequences if len(one) > 1)))


def latents_on(store: FeatureStore, words: Spelling, least_contexts: int = 2) -> list[WordHit]:
    """The latents that fire on the words in at least so many of their top contexts; those that do most, first."""
    size = store.meta.num_latents
    on_words, overall, contexts = np.zeros(size), np.zeros(size), np.zeros(size, np.int64)
    for batch in store.scan("latent", "group", "tokens", "acts"):
        is_top = pc.equal(batch.column("group"), TOP)
        _count(batch.filter(is_top), words, on_words, overall, contexts)
    share = on_words / np.maximum(overall, np.finfo(np.float64).tiny)
    chosen = np.flatnonzero(contexts >= least_contexts)
    order = chosen[np.lexsort((chosen, -contexts[chosen], -share[chosen]))]
    return [WordHit(int(one), float(share[one]), int(contexts[one])) for one in order]


def latents_called(words: str, texts: Mapping[int, Sequence[str]]) -> list[int]:
    """The latents of whom a text, such as a label or an explanation, has the words."""
    wanted = words.strip().lower()
    return [latent for latent in sorted(texts) if any(wanted in text.lower() for text in texts[latent])]


def _count(
    batch: pa.RecordBatch, words: Spelling, on_words: np.ndarray, overall: np.ndarray, contexts: np.ndarray
) -> None:
    lists = batch.column("tokens")
    tokens, acts = lists.flatten().to_numpy(), batch.column("acts").flatten().to_numpy()
    lengths = np.diff(lists.offsets.to_numpy())
    row = np.repeat(np.arange(len(lengths)), lengths)
    marked = words.marks(tokens, row)
    latent = batch.column("latent").to_numpy()
    np.add.at(overall, latent, np.bincount(row, acts, len(latent)))
    np.add.at(on_words, latent, np.bincount(row, acts * marked, len(latent)))
    np.add.at(contexts, latent, np.bincount(row, (acts > 0) & marked, len(latent)) > 0)
