"""Steering: a model that runs with some latents of its SAEs turned up, held, scaled or silent.

Only the change is decoded, and added to what stands there (x + W_dec (a' - a), in the units of x), so that what the SAE
does not reconstruct stays as it is. Vectors whose activations do not change are not touched, not by a bit.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from features.attached import Dictionary, checked_rows
from features.forward_watch import ForwardWatch, Tokens
from shared.errors import UserError
from shared.hookpoints import Hookpoint, find_hookpoint, hook

Mode = Literal["add", "set", "set_if_active", "scale", "ablate"]
MODES: tuple[str, ...] = get_args(Mode)
Where = Literal["both", "prompt", "generated"] | tuple[int, ...]


class Steerable(Dictionary, Protocol):
    """An SAE that can be steered with; `trainers.load_sae` gives one."""

    num_latents: int

    def change_raw(self, x: Tensor, latents: Tensor, change: Tensor) -> Tensor:
        """What the reconstruction of raw rows `x` gains where `latents` [n] fire by `change` [..., n] more."""
        ...


@dataclass(frozen=True)
class Steering:
    """One latent, and what becomes of its activation a, with v = strength * unit:

    add: a + v;  set: v;  set_if_active: v where a > 0, else a;  scale: strength * a;  ablate: 0.
    """

    sae: Steerable
    hookpoint: str
    """Where the SAE reads, as in a job file."""
    latent: int
    mode: Mode = "add"
    strength: float = 1.0
    """May be negative."""
    unit: float = 1.0
    """The activation that strength 1 means, such as the latent's largest."""
    on: Where = "both"
    """Prompt, generated tokens or both; or places in the text, from 0, padding included."""
    output: str | None = None
    """The hookpoint that is changed, for a transcoder; by default `hookpoint`."""

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise UserError(f"mode must be one of {', '.join(MODES)}, got {self.mode!r}")
        if not math.isfinite(self.strength * self.unit):
            raise UserError(f"strength must be a finite number, got {self.strength}")
        if not 0 <= self.latent < self.sae.num_latents:
            raise UserError(f"latent must be from 0 to {self.sae.num_latents - 1}, got {self.latent}")
        if not isinstance(self.on, tuple) and self.on not in ("both", "prompt", "generated"):
            raise UserError(f"on must be prompt, generated or both, got {self.on!r}")

    def steered(self, acts: Tensor) -> Tensor:
        """The activations, of any shape, that take the place of `acts`."""
        value = self.strength * self.unit
        if self.mode == "add":
            return acts + value
        if self.mode == "set":
            return torch.full_like(acts, value)
        if self.mode == "set_if_active":
            return torch.where(acts > 0, value, acts)
        return acts * self.strength if self.mode == "scale" else torch.zeros_like(acts)


@contextmanager
def steer(
    model: nn.Module, tokenizer: Any | None, steerings: Sequence[Steering], *, prompt_tokens: int | None = None
) -> Iterator[None]:
    """Every forward of `model` inside the `with` block is steered; several of one latent act one after another.

    Args:
        tokenizer: its special tokens are left as they are, as training leaves them out; None: there are none.
        prompt_tokens: the prompt's length, where it is not what the first forward of a text reads.
    Raises:
        UserError: no such module; or, in a forward, widths, devices or shapes that do not fit.
    """
    special_ids = () if tokenizer is None else tokenizer.all_special_ids
    places = [_Place(model, group) for group in _grouped(steerings)]
    watch = ForwardWatch(model, prompt_tokens, special_ids)
    handles = [handle for place in places for handle in place.hook_into(watch)]
    try:
        yield
    finally:
        watch.remove()
        for handle in handles:
            handle.remove()


def _grouped(steerings: Sequence[Steering]) -> list[list[Steering]]:
    """By SAE and place, in the order of their first."""
    groups: dict[tuple[int, str, str | None], list[Steering]] = {}
    for one in steerings:
        groups.setdefault((id(one.sae), one.hookpoint, one.output), []).append(one)
    return list(groups.values())


class _Place:
    """One SAE at one place of a model, and what is done with its latents."""

    def __init__(self, model: nn.Module, steerings: list[Steering]) -> None:
        first, name = steerings[0], type(model).__name__
        self._sae, self._steerings = first.sae, steerings
        self._source = find_hookpoint(model, first.hookpoint, name)
        self._target = self._source if first.output is None else find_hookpoint(model, first.output, name)
        latents = sorted({one.latent for one in steerings})
        self._column = {latent: column for column, latent in enumerate(latents)}
        self._latents = torch.tensor(latents)
        self._reads_acts = any(one.mode != "add" for one in steerings)
        self._x: Tensor | None = None

    def hook_into(self, watch: ForwardWatch) -> list[RemovableHandle]:
        """The hooks that do it."""

        def write(y: Tensor | None) -> Tensor | None:
            return self._write(y, watch.tokens)

        return [hook(self._source, self._read), hook(self._target, write)]

    def _read(self, x: Tensor | None) -> None:
        self._x = checked_rows(self._source, x, self._sae)

    def _write(self, y: Tensor | None, tokens: Tokens | None) -> Tensor | None:
        """None, which leaves the very tensor, where nothing changes."""
        x, self._x = self._x, None
        assert x is not None and y is not None
        x = x.to(next(iter(self._sae.parameters())).dtype)
        change = self._change(x, tokens)
        moved = change.ne(0).any(-1)
        if not moved.any():
            return None
        gain = self._sae.change_raw(x[moved], self._latents.to(x.device), change[moved])
        _check_fits(self._target, y, x, gain)
        steered = y.clone()
        steered[moved] = (y[moved].to(gain.dtype) + gain).to(y.dtype)
        return steered

    def _change(self, x: Tensor, tokens: Tokens | None) -> Tensor:
        """[..., steered latents]: a' - a."""
        if self._reads_acts:
            acts = self._sae.encode(x)[..., self._latents.to(x.device)]
        else:
            acts = x.new_zeros(*x.shape[:-1], len(self._latents))
        steered = acts.clone()
        for one in self._steerings:
            column = steered[..., self._column[one.latent]]
            mask = _touched(one.on, tokens, self._source, x)
            column.copy_(torch.where(mask, one.steered(column), column))
        return steered - acts


def _touched(on: Where, tokens: Tokens | None, hookpoint: Hookpoint, x: Tensor) -> Tensor:
    """bool, the shape of `x` without its last: which vectors are steered."""
    if tokens is None:
        if on != "both":
            raise UserError(f"steering on {on} tokens needs forwards of the whole model, not of its parts")
        return torch.ones(x.shape[:-1], dtype=torch.bool, device=x.device)
    if x.shape[:-1] not in (tokens.shape, (tokens.shape[0] * tokens.shape[1],)):
        raise UserError(
            f"{hookpoint.name} gives a tensor of shape {list(x.shape)} for {tokens.shape[0]} contexts of "
            f"{tokens.shape[1]} tokens; it must have one vector for each token"
        )
    mask = _meant(on, tokens).expand(tokens.shape)
    if tokens.untouchable is not None:
        mask = mask & ~tokens.untouchable
    return mask.to(x.device).reshape(x.shape[:-1])


def _meant(on: Where, tokens: Tokens) -> Tensor:
    """bool [tokens]"""
    if isinstance(on, tuple):
        return torch.isin(tokens.positions, torch.tensor(on, device=tokens.positions.device))
    if on == "both":
        return torch.ones_like(tokens.positions, dtype=torch.bool)
    is_prompt = tokens.positions < tokens.prompt_tokens
    return is_prompt if on == "prompt" else ~is_prompt


def _check_fits(target: Hookpoint, y: Tensor, x: Tensor, gain: Tensor) -> None:
    if y.shape[-1] != gain.shape[-1] or y.shape[:-1] != x.shape[:-1]:
        raise UserError(
            f"{target.name} gives vectors of {y.shape[-1]} values and the SAE reconstructs {gain.shape[-1]}"
        )
