"""Text from a model, token by token, with chance that a seed fixes.

The noise of a step depends on seed, sample and step alone (the Gumbel trick): a model and the same model steered meet
the same chance, and differ only where their predictions do.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from shared.errors import UserError


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn."""

    max_new_tokens: int = 40
    temperature: float = 0.7
    """0: always the likeliest."""
    seed: int = 0
    """Of the first sample; the next has the next."""
    num_samples: int = 1
    stop_ids: tuple[int, ...] = ()
    """A sample ends with the first of these."""

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1 or self.num_samples < 1:
            raise UserError("max_new_tokens and num_samples must be at least 1")
        if not 0 <= self.temperature <= 100:
            raise UserError(f"temperature must be from 0 to 100, got {self.temperature}")


def stream(model: nn.Module, prompt: Tensor, sampling: Sampling, use_cache: bool = True) -> Iterator[Tensor]:
    """The next token of each sample, int64 [samples], as soon as it is there.

    Ends where the model takes no more, or every sample has ended; those that have go on until then.

    Args:
        prompt: int64 [tokens], at least one.
    Raises:
        UserError: the prompt is empty, or as long as the model's longest text.
    """
    room = _room(model, len(prompt))
    device = next(model.parameters()).device
    text = prompt.to(device).expand(sampling.num_samples, -1)
    noises = [torch.Generator().manual_seed(sampling.seed + number) for number in range(sampling.num_samples)]
    fresh, cache, ended = text, None, torch.zeros(len(text), dtype=torch.bool)
    for _ in range(min(sampling.max_new_tokens, room)):
        with torch.no_grad():
            mask = torch.ones_like(text)
            output = model(input_ids=fresh, attention_mask=mask, past_key_values=cache, use_cache=use_cache)
        token = _drawn(output.logits[:, -1], sampling.temperature, noises)
        yield token
        ended |= torch.isin(token.cpu(), torch.tensor(sampling.stop_ids, dtype=torch.int64))
        if ended.all():
            return
        text = torch.cat([text, token[:, None]], dim=1)
        cache = output.past_key_values if use_cache else None
        fresh = token[:, None] if cache is not None else text


def generate(
    model: nn.Module,
    prompt: Tensor,
    sampling: Sampling,
    use_cache: bool = True,
    on_tokens: Callable[[Tensor], None] = lambda tokens: None,
) -> list[Tensor]:
    """The new tokens of each sample, int64 [new tokens], the one that ends it included.

    `on_tokens` gets each step's, int64 [samples], as soon as they are there.
    """
    steps = []
    for tokens in stream(model, prompt, sampling, use_cache):
        on_tokens(tokens)
        steps.append(tokens)
    return [_cut(one, sampling.stop_ids) for one in torch.stack(steps, dim=1)]


def _cut(tokens: Tensor, stop_ids: tuple[int, ...]) -> Tensor:
    stops = torch.isin(tokens.cpu(), torch.tensor(stop_ids, dtype=torch.int64)).nonzero()
    return tokens[: int(stops[0]) + 1] if len(stops) else tokens


def _drawn(logits: Tensor, temperature: float, noises: list[torch.Generator]) -> Tensor:
    """One token of each row of `logits` [samples, vocabulary]."""
    if temperature == 0:
        return logits.argmax(-1)
    uniform = torch.stack([torch.rand(logits.shape[1], generator=one, dtype=torch.float64) for one in noises])
    gumbel = -(-uniform.log()).log()
    return (logits.double() / temperature + gumbel.to(logits.device)).argmax(-1)


def _room(model: nn.Module, prompt_tokens: int) -> int:
    """New tokens that the model can take after so many."""
    if prompt_tokens == 0:
        raise UserError("the prompt is empty: give at least one token")
    config: Any = getattr(model, "config", None)
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    longest = getattr(text, "max_position_embeddings", None) or getattr(text, "n_positions", None)
    if longest and prompt_tokens >= longest:
        raise UserError(f"the prompt has {prompt_tokens} tokens; the model takes {longest}, new ones included")
    return longest - prompt_tokens if longest else 2**31
