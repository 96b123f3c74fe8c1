"""The model's tokenizer: text -> token ids, the special tokens around a context, the tokens that do not train."""

import difflib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from producers.document import Document
from producers.packing import ContextTemplate
from shared.config import CorpusConfig, ModelConfig
from shared.errors import UserError

PROBE = "a"
"""Text that every tokenizer can encode, to see what it puts around it."""


class DocumentTokenizer:
    """What turns documents into token ids; documents that have theirs keep them.

    Attributes:
        template: the special tokens around and between texts.
        is_excluded: bool [vocab_size], the token ids that are left out of the training rows.
    """

    def __init__(self, tokenizer: Any | None, name: str, corpus: CorpusConfig, vocab_size: int) -> None:
        """Raises UserError if context_tokens has no room for text, or exclude_tokens names no token."""
        self._tokenizer = tokenizer
        self._name = name
        self._vocab_size = vocab_size
        self.template = ContextTemplate() if tokenizer is None else _template(tokenizer, corpus.prepend_bos)
        self.is_excluded = _excluded(tokenizer, name, corpus, vocab_size)
        special = corpus.context_tokens - self.template.body_tokens(corpus.context_tokens)
        if special >= corpus.context_tokens:
            needed = f"above {special}, the number of special tokens of {name}"
            raise UserError(f"corpus.context_tokens must be {needed}, got {corpus.context_tokens}")

    @classmethod
    def load(cls, model: ModelConfig, corpus: CorpusConfig, vocab_size: int) -> "DocumentTokenizer":
        """The tokenizer that the job names. Raises UserError if there is none and the corpus needs one."""
        tokenizer = load_tokenizer(model)
        name = model.tokenizer or model.name
        if tokenizer is None and (corpus.tokens_column is None or corpus.exclude_tokens):
            key = "model.tokenizer" if model.tokenizer else "model.name"
            hint = "" if model.tokenizer else "; name one as model.tokenizer"
            raise UserError(f"{key}: there is no tokenizer in {name}{hint}")
        return cls(tokenizer, name, corpus, vocab_size)

    def encode(self, documents: Iterable[Document]) -> list[np.ndarray]:
        """Each document's token ids, int64, without special tokens.

        Raises:
            UserError: a token id is beyond the model's vocabulary.
        """
        listed = list(documents)
        texts = [document.text for document in listed if document.text is not None]
        encoded = iter(self._encode_texts(texts) if texts else [])
        ids = [next(encoded) if document.token_ids is None else document.token_ids for document in listed]
        for one in ids:
            self._check(one)
        return ids

    def _encode_texts(self, texts: list[str]) -> list[np.ndarray]:
        assert self._tokenizer is not None
        backend = getattr(self._tokenizer, "backend_tokenizer", None)
        if backend is None:
            found = self._tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
        else:
            found = [encoding.ids for encoding in backend.encode_batch_fast(texts, add_special_tokens=False)]
        return [np.array(ids, np.int64) for ids in found]

    def _check(self, ids: np.ndarray) -> None:
        if len(ids) and (ids.min() < 0 or ids.max() >= self._vocab_size):
            worst = int(ids.max() if ids.max() >= self._vocab_size else ids.min())
            raise UserError(
                f"token id {worst} of the corpus is beyond the model's vocabulary of {self._vocab_size}; "
                f"is {self._name} the tokenizer that belongs to the model?"
            )


def load_tokenizer(model: ModelConfig) -> Any | None:
    """The tokenizer of `model`, or None if it has none."""
    from transformers import AutoTokenizer

    revision = None if model.tokenizer else model.revision
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            model.tokenizer or model.name, revision=revision, use_fast=True, trust_remote_code=model.trust_remote_code
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if set(tokenizer.get_vocab()) <= set(tokenizer.all_special_tokens):
        return None  # transformers 5 makes an empty tokenizer where a folder has no vocabulary
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        backend.no_truncation()
        backend.no_padding()
    return tokenizer


def _template(tokenizer: Any, prepend_bos: bool) -> ContextTemplate:
    bos, eos, sep = tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.sep_token_id
    prefix, suffix = _around(tokenizer)
    if not prefix and not suffix and bos is not None and prepend_bos:
        prefix = (bos,)
    elif prefix == (bos,) and not suffix and not prepend_bos:
        prefix = ()
    separator = next((one for one in (eos, sep, bos) if one is not None), None)
    pad = next((one for one in (tokenizer.pad_token_id, eos) if one is not None), 0)
    return ContextTemplate(prefix, suffix, separator, pad)


def _around(tokenizer: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The token ids that the tokenizer puts before and after a text."""
    plain: Sequence[int] = tokenizer.encode(PROBE, add_special_tokens=False)
    framed: Sequence[int] = tokenizer.encode(PROBE, add_special_tokens=True)
    for start in range(len(framed) - len(plain) + 1):
        if list(framed[start : start + len(plain)]) == list(plain):
            return tuple(framed[:start]), tuple(framed[start + len(plain) :])
    return (), ()


def _excluded(tokenizer: Any | None, name: str, corpus: CorpusConfig, vocab_size: int) -> np.ndarray:
    is_excluded = np.zeros(vocab_size, bool)
    if tokenizer is None:
        return is_excluded
    ids = [_lookup(token, tokenizer.get_vocab(), name) for token in corpus.exclude_tokens]
    if corpus.exclude_special_tokens:
        added = getattr(tokenizer, "added_tokens_decoder", {})
        ids += [*tokenizer.all_special_ids, *(one for one, token in added.items() if token.special)]
    is_excluded[[one for one in ids if one < vocab_size]] = True
    return is_excluded


def _lookup(token: str, vocabulary: dict[str, int], name: str) -> int:
    if token in vocabulary:
        return vocabulary[token]
    near = difflib.get_close_matches(token, [word for word in vocabulary if word[:2] == token[:2]], n=3, cutoff=0.5)
    hint = f"; nearest: {', '.join(near)}" if near else "; it must be written as the vocabulary has it"
    raise UserError(f"corpus.exclude_tokens: {name} has no token {token!r}{hint}")
