"""Token ids of documents -> contexts of equal length: concatenate, cut, frame with special tokens. Nothing is dropped.

A context is `prefix body suffix`; the bodies are consecutive cuts of the unit's documents with a separator between two.
Only the last context of a unit can be short; it is padded on the right.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

PADDING_DOCUMENT = -1


class ContextTemplate(NamedTuple):
    """The special tokens that a model expects around text."""

    prefix: tuple[int, ...] = ()
    suffix: tuple[int, ...] = ()
    separator: int | None = None
    pad: int = 0

    def body_tokens(self, context_tokens: int) -> int:
        """Tokens of text in one context."""
        return context_tokens - len(self.prefix) - len(self.suffix)


class Contexts(NamedTuple):
    """Contexts of one unit, [contexts, context_tokens] each."""

    token_ids: np.ndarray
    """int64"""
    attention_mask: np.ndarray
    """bool: False where there is padding."""
    document: np.ndarray
    """int32: the document's number in the unit; a separator belongs to the document before it; -1 for padding."""

    def kept(self, is_excluded: np.ndarray) -> np.ndarray:
        """bool [contexts, context_tokens]: neither padding nor a token id that `is_excluded` [vocabulary] marks."""
        return self.attention_mask & ~is_excluded[self.token_ids]


def pack(documents: Iterable[np.ndarray], template: ContextTemplate, context_tokens: int) -> Contexts:
    """The contexts of one unit's documents, given as arrays of token ids in order."""
    token_ids, document = _concatenated(list(documents), template.separator)
    body = template.body_tokens(context_tokens)
    assert body > 0, "the special tokens alone fill the context"
    num_contexts = -(-len(token_ids) // body)
    packed = _frame(template, num_contexts, context_tokens)
    start, stop = len(template.prefix), len(template.prefix) + body
    _cut(packed.token_ids[:, start:stop], token_ids, template.pad)
    _cut(packed.document[:, start:stop], document, PADDING_DOCUMENT)
    packed.document[:, :start] = packed.document[:, start : start + 1]
    packed.document[:, stop:] = packed.document[:, stop - 1 : stop]
    if num_contexts:
        _close_last(packed, template, len(token_ids) - (num_contexts - 1) * body)
    return packed


def _concatenated(documents: list[np.ndarray], separator: int | None) -> tuple[np.ndarray, np.ndarray]:
    """All tokens in one line, with separators between documents that are not empty, and each one's document."""
    numbered = [(number, ids) for number, ids in enumerate(documents) if len(ids)]
    if not numbered:
        return np.zeros(0, np.int64), np.zeros(0, np.int32)
    end = np.array([] if separator is None else [separator], np.int64)
    pieces = [piece for _, ids in numbered for piece in (ids, end)]
    lengths = [len(ids) + len(end) for _, ids in numbered]
    token_ids = np.concatenate(pieces).astype(np.int64, copy=False)
    document = np.repeat(np.array([number for number, _ in numbered], np.int32), lengths)
    length = len(token_ids) - len(end)
    return token_ids[:length], document[:length]


def _frame(template: ContextTemplate, num_contexts: int, context_tokens: int) -> Contexts:
    """Contexts that have their prefix and suffix and no text yet."""
    shape = (num_contexts, context_tokens)
    token_ids = np.full(shape, template.pad, np.int64)
    token_ids[:, : len(template.prefix)] = template.prefix
    token_ids[:, context_tokens - len(template.suffix) :] = template.suffix
    return Contexts(token_ids, np.ones(shape, bool), np.full(shape, PADDING_DOCUMENT, np.int32))


def _cut(target: np.ndarray, values: np.ndarray, padding: int) -> None:
    """Fills the rows of `target` with consecutive `values`, the last one padded."""
    missing = target.size - len(values)
    target[...] = np.pad(values, (0, missing), constant_values=padding).reshape(target.shape)


def _close_last(packed: Contexts, template: ContextTemplate, body: int) -> None:
    """Moves the suffix of the last context to the end of its text, and masks what follows."""
    text_end = len(template.prefix) + body
    end = text_end + len(template.suffix)
    packed.token_ids[-1, text_end:end] = template.suffix
    packed.token_ids[-1, end:] = template.pad
    packed.document[-1, text_end:end] = packed.document[-1, text_end - 1]
    packed.document[-1, end:] = PADDING_DOCUMENT
    packed.attention_mask[-1, end:] = False
