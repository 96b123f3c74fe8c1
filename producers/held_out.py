"""The text that no trainer reads, tokenised and packed as training text is, ready for a model."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from producers.corpus import Corpus
from producers.packing import pack
from producers.tokenizing import DocumentTokenizer
from shared.config import Job


class ContextBatch(NamedTuple):
    """Some contexts, [contexts, tokens] each."""

    token_ids: Tensor
    """int64"""
    attention_mask: Tensor
    """bool: False where there is padding."""
    kept: Tensor
    """bool: the positions that are rows, by the rules that training has."""


class HeldOutText(NamedTuple):
    """Contexts in an order that the seed fixes; [contexts, context_tokens] each, as `ContextBatch`."""

    token_ids: np.ndarray
    attention_mask: np.ndarray
    kept: np.ndarray

    @classmethod
    def read(cls, job: Job, corpus: Corpus, vocab_size: int, num_contexts: int) -> "HeldOutText":
        """The first `num_contexts` held-out contexts, or all where there are fewer.

        Raises:
            UserError: the corpus is damaged, or there is no tokenizer for it.
        """
        tokenizer = DocumentTokenizer.load(job.model, job.corpus, vocab_size)
        units, found = [], 0
        for unit in range(corpus.num_held_out_units):
            if found >= num_contexts:
                break
            units.append(pack(tokenizer.encode(corpus.held_out(unit)), tokenizer.template, job.corpus.context_tokens))
            found += len(units[-1].token_ids)
        if not units:
            return cls(*(np.zeros((0, job.corpus.context_tokens), kind) for kind in (np.int64, bool, bool)))
        token_ids = np.concatenate([one.token_ids for one in units])
        mask = np.concatenate([one.attention_mask for one in units])
        kept = np.concatenate([one.kept(tokenizer.is_excluded) for one in units])
        return cls(token_ids[:num_contexts], mask[:num_contexts], kept[:num_contexts])

    @property
    def num_contexts(self) -> int:
        return len(self.token_ids)

    @property
    def num_rows(self) -> int:
        return int(self.kept.sum())

    def batches(self, contexts: int) -> Iterator[ContextBatch]:
        """All contexts in order, so many at a time."""
        for start in range(0, self.num_contexts, contexts):
            part = slice(start, start + contexts)
            yield ContextBatch(
                *(torch.from_numpy(one[part]) for one in (self.token_ids, self.attention_mask, self.kept))
            )
