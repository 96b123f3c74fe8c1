"""The language model to its end, with activations as they are or with others in their place."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn

from producers.hooked_model import HookedModel, load_weights
from producers.hookpoints import by_context, find_hookpoints
from shared.config import ModelConfig
from shared.errors import UserError
from shared.hookpoints import Hookpoint, hook

Act = Callable[[Hookpoint, Tensor], Tensor | None]
"""Sees a hookpoint's activations; what it returns, unless that is None, takes their place."""


class CleanForward(NamedTuple):
    """A forward that nothing was changed in."""

    rows: dict[str, Tensor]
    """hookpoint -> [rows, width]: the activations at the positions that were asked for, in order."""
    logits: Tensor | None
    """[contexts, tokens, vocabulary]; None where the model predicts no next token."""


class SplicedModel(HookedModel):
    """As `HookedModel`, and forwards that go through to the logits.

    Rows are the kept positions of the contexts in order, as in training; all others, such as BOS and padding, are never
    replaced. Where a module runs several times in one forward, its first run counts, as in training.
    """

    def __init__(self, model: nn.Module, hookpoints: tuple[str, ...], name: str, no_logits: str = "") -> None:
        """`no_logits` says why the model predicts no next token; empty where it does."""
        super().__init__(model, hookpoints, name)
        self.no_logits = no_logits
        self._hookpoints = {one.name: one for one in find_hookpoints(model, hookpoints, name)}

    @property
    def names(self) -> tuple[str, ...]:
        """Of the hookpoints."""
        return tuple(self._hookpoints)

    @classmethod
    def load(cls, config: ModelConfig, device: str = "cpu", dtype: str = "float32") -> Self:
        """The model with its weights; where those of its head are missing it has no logits."""
        loaded, no_logits = load_weights(config, device, dtype), ""
        if not loaded.is_causal:
            no_logits = f"{config.name} is an encoder, which predicts no next token"
        elif loaded.missing:
            no_logits = f"the weights of {config.name} lack the head that predicts the next token ({loaded.missing[0]})"
        return cls(loaded.model, config.hookpoints, config.name, no_logits)

    @torch.inference_mode()
    def clean(self, token_ids: Tensor, attention_mask: Tensor, kept: Tensor) -> CleanForward:
        """Rows of every hookpoint, and logits.

        Args:
            token_ids, attention_mask, kept: [contexts, tokens]; `kept` is True for the positions that are rows.
        Raises:
            UserError: a hookpoint was not reached, or gives no vector for each token.
        """
        index, rows = _positions(kept, self.device), dict[str, Tensor]()

        def take(hookpoint: Hookpoint, activations: Tensor) -> None:
            rows[hookpoint.name] = by_context(hookpoint.name, activations, kept.shape).flatten(0, 1)[index]

        logits = self._hooked_forward(list(self._hookpoints), take, token_ids, attention_mask)
        return CleanForward(rows, logits)

    @torch.inference_mode()
    def spliced(self, token_ids: Tensor, attention_mask: Tensor, kept: Tensor, rows: Mapping[str, Tensor]) -> Tensor:
        """Logits [contexts, tokens, vocabulary] with `rows` (hookpoint -> [rows, width]) in the kept positions."""
        index = _positions(kept, self.device)

        def put(hookpoint: Hookpoint, activations: Tensor) -> Tensor:
            flat = activations.reshape(-1, activations.shape[-1]).clone()
            flat[index] = rows[hookpoint.name].to(flat)
            return flat.view(activations.shape)

        logits = self._hooked_forward(list(rows), put, token_ids, attention_mask)
        assert logits is not None, self.no_logits
        return logits

    def _hooked_forward(self, names: list[str], act: Act, token_ids: Tensor, attention_mask: Tensor) -> Tensor | None:
        """The logits of one forward in which `act` is called at each of the hookpoints, once."""
        waiting = set(names)

        def once(hookpoint: Hookpoint, activations: Tensor | None) -> Tensor | None:
            if hookpoint.name not in waiting:
                return None
            if activations is None:
                raise UserError(f"model.hookpoints: {hookpoint.name} gives no tensor")
            waiting.discard(hookpoint.name)
            return act(hookpoint, activations)

        handles = [hook(self._hookpoints[name], partial(once, self._hookpoints[name])) for name in names]
        try:
            output = self._forward(token_ids, attention_mask)
        finally:
            for handle in handles:
                handle.remove()
        if waiting:
            raise UserError(f"model.hookpoints: a forward does not reach {', '.join(sorted(waiting))}")
        return None if self.no_logits else output.logits


def _positions(kept: Tensor, device: torch.device) -> Tensor:
    """The numbers of the kept positions among all, [rows]."""
    return kept.flatten().nonzero().flatten().to(device)
