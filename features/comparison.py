"""A steered generation beside what the model writes by itself, with the same chance."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from features.generation import Sampling, generate, stream
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
    model: nn.Module,
    tokenizer: Any | None,
    prompt: Tensor,
    steerings: Sequence[Steering],
    sampling: Sampling,
    on_tokens: Callable[[str, Tensor], None] = lambda side, tokens: None,
) -> Comparison:
    """Generates twice after `prompt` [tokens] and looks at what was written with and without steering.

    `on_tokens` gets `baseline` or `steered` and each step's tokens, int64 [samples], as soon as they are there.
    """
    baseline = generate(model, prompt, sampling, on_tokens=partial(on_tokens, "baseline"))
    with steer(model, tokenizer, steerings, prompt_tokens=len(prompt)):
        steered = generate(model, prompt, sampling, on_tokens=partial(on_tokens, "steered"))
    return judged(model, tokenizer, prompt, steerings, baseline, steered)


def judged(
    model: nn.Module,
    tokenizer: Any | None,
    prompt: Tensor,
    steerings: Sequence[Steering],
    baseline: list[Tensor],
    steered: list[Tensor],
) -> Comparison:
    """The comparison of new tokens that are there already, such as those that `steered_stream` gave."""
    looks = look_at(model, tokenizer, prompt, steered, steerings)
    return Comparison(prompt, baseline, steered, [one.kl for one in looks], [one.loss for one in looks])


def steered_stream(
    model: nn.Module, tokenizer: Any | None, prompt: Tensor, steerings: Sequence[Steering], sampling: Sampling
) -> Iterator[Tensor]:
    """As `generation.stream`, steered as long as it is read: close it, or read it to its end."""
    with steer(model, tokenizer, steerings, prompt_tokens=len(prompt)):
        yield from stream(model, prompt, sampling)


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
    model: nn.Module, tokenizer: Any | None, prompt: Tensor, written: Sequence[Tensor], steerings: Sequence[Steering]
) -> list[Look]:
    """What the model, steered and not, predicts where each of `written` [new tokens] follows `prompt` [tokens].

    Two forwards for all of them, padded to the longest.
    """
    texts = [torch.cat([prompt.to(one.device), one]) for one in written]
    padded = nn.utils.rnn.pad_sequence(texts, batch_first=True)
    lengths = torch.tensor([len(one) for one in texts], device=padded.device)
    mask = (torch.arange(padded.shape[1], device=padded.device) < lengths[:, None]).long()
    plain = log_probs_of(model, padded, mask)
    with steer(model, tokenizer, steerings, prompt_tokens=len(prompt)):
        steered = log_probs_of(model, padded, mask)
    distance, loss = kl(steered, plain), next_token_loss(plain, padded)
    news = [slice(len(prompt) - 1, len(text) - 1) for text in texts]
    return [Look(steered[row, new], distance[row, new], loss[row, new]) for row, new in enumerate(news)]
