"""A steered generation beside what the model writes by itself, with the same chance."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from features.generation import Sampling, generate
from features.predictions import kl, log_probs_of, next_token_loss
from features.steering import Steering, steer


@dataclass(frozen=True)
class Comparison:
    """One list item a sample: the texts' new tokens, and how far from itself the model was when it wrote."""

    prompt: Tensor
    """int64 [tokens]"""
    baseline: list[Tensor]
    steered: list[Tensor]
    kl: list[Tensor]
    """For each new token of `steered`, KL(steered || baseline) of the prediction that it was drawn from, nats."""
    loss: list[Tensor]
    """For each new token of `steered`, its surprise to the model as it is, nats."""


def compare(
    model: nn.Module, tokenizer: Any | None, prompt: Tensor, steerings: Sequence[Steering], sampling: Sampling
) -> Comparison:
    """Generates twice after `prompt` [tokens] and looks at what was written with and without steering."""
    baseline = generate(model, prompt, sampling)
    with steer(model, tokenizer, steerings, prompt_tokens=len(prompt)):
        steered = generate(model, prompt, sampling)
    looked_at = [look_at(model, tokenizer, prompt, one, steerings) for one in steered]
    return Comparison(prompt, baseline, steered, [one.kl for one in looked_at], [one.loss for one in looked_at])


@dataclass(frozen=True)
class Look:
    """Predictions over a text's new tokens."""

    log_probs: Tensor
    """[new tokens, vocabulary], steered: what each was predicted by."""
    kl: Tensor
    """[new tokens]: KL(steered || baseline), nats."""
    loss: Tensor
    """[new tokens]: surprise to the model as it is, nats."""


def look_at(
    model: nn.Module, tokenizer: Any | None, prompt: Tensor, written: Tensor, steerings: Sequence[Steering]
) -> Look:
    """What the model, steered and not, predicts where `written` [new tokens] follows `prompt` [tokens]."""
    text = torch.cat([prompt.to(written.device), written])[None]
    plain = log_probs_of(model, text)
    with steer(model, tokenizer, steerings, prompt_tokens=len(prompt)):
        steered = log_probs_of(model, text)
    new = slice(len(prompt) - 1, -1)
    return Look(steered[0, new], kl(steered, plain)[0, new], next_token_loss(plain, text)[0, len(prompt) - 1 :])
