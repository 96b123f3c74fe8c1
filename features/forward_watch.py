"""Which tokens a model's forward is about: their places in the text, the prompt's length, what is padding or special.

A generation with a cache shows one token at a time, one without shows the whole text again and again; here both read
alike.
"""

import inspect
from collections.abc import Collection
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle


class Tokens(NamedTuple):
    """The tokens of one forward."""

    shape: tuple[int, int]
    """(contexts, tokens)"""
    positions: Tensor
    """int64 [tokens]: their places in the text, padding on the left included."""
    prompt_tokens: int
    """Places below this are the prompt's."""
    untouchable: Tensor | None
    """bool [contexts, tokens]: padding and special tokens; None where there are none."""


class ForwardWatch:
    """Sees every forward of `model`; `tokens` are those of the one that is running, None between two.

    The prompt is what the first forward of a text reads, unless `prompt_tokens` says how long it is: needed where the
    prompt is read in pieces. A forward without a cache goes on with the text before if it begins with all of it.
    """

    def __init__(self, model: nn.Module, prompt_tokens: int | None, special_ids: Collection[int]) -> None:
        self.tokens: Tokens | None = None
        self._given_prompt, self._prompt = prompt_tokens, 0
        self._special = torch.tensor(sorted(special_ids), dtype=torch.int64)
        self._before: Tensor | None = None
        self._signature = inspect.signature(model.forward)
        self._handles: list[RemovableHandle] = [
            model.register_forward_pre_hook(self._begin, with_kwargs=True),
            model.register_forward_hook(self._end, always_call=True),
        ]

    def remove(self) -> None:
        for handle in self._handles:
            handle.remove()

    def _begin(self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        given = self._signature.bind_partial(*args, **kwargs).arguments
        given.update(given.pop("kwargs", {}))
        ids, embeddings, mask = (given.get(name) for name in ("input_ids", "inputs_embeds", "attention_mask"))
        read = embeddings if ids is None else ids
        if read is None:
            return
        contexts, length = read.shape[:2]
        if mask is not None and mask.ndim != 2:
            mask = None
        done = _cached_tokens(given.get("past_key_values"), mask, length)
        if done == 0 and not self._goes_on(ids):
            self._prompt = length
        self._before = ids
        prompt = self._prompt if self._given_prompt is None else self._given_prompt
        positions = torch.arange(done, done + length, device=read.device)
        self.tokens = Tokens((contexts, length), positions, prompt, self._untouchable(ids, mask, length))

    def _end(self, *_: object) -> None:
        self.tokens = None

    def _goes_on(self, ids: Tensor | None) -> bool:
        """Whether `ids` are the last forward's and more."""
        before = self._before
        if ids is None or before is None or len(before) != len(ids) or before.shape[1] >= ids.shape[1]:
            return False
        return torch.equal(ids[:, : before.shape[1]], before)

    def _untouchable(self, ids: Tensor | None, mask: Tensor | None, length: int) -> Tensor | None:
        found = None if mask is None else mask[:, -length:] == 0
        if ids is not None and len(self._special):
            special = torch.isin(ids, self._special.to(ids.device))
            found = special if found is None else found | special
        return found


def _cached_tokens(cache: Any, mask: Tensor | None, length: int) -> int:
    """Tokens of the text that were read before; by the mask, which covers them too, where the cache cannot tell."""
    if hasattr(cache, "get_seq_length"):
        return int(cache.get_seq_length())
    return 0 if mask is None else max(0, mask.shape[1] - length)
