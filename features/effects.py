"""What a latent does to the model's predictions, found by taking it away (OpenAI's viewer shows the same).

The error is kept, so that all of the difference is the latent's: logits and losses with its activation as it is,
against those with 0 in its place, at one token or at all.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from features.predictions import kl, log_probs_of, next_token_loss
from features.steering import Steerable, Steering, steer

NUM_VOTES = 5


class Votes(NamedTuple):
    """The tokens that change most, at each place; [contexts, tokens, votes] each, the largest change first."""

    ids: Tensor
    changes: Tensor
    """Above 0: the latent votes for the token; below: against it; 0, and no vote, where fewer tokens go that way."""


class Effects(NamedTuple):
    """With the latent against without; a difference is with minus without, but for `loss_rise`."""

    loss_rise: Tensor
    """[contexts, tokens - 1], nats: how much worse each next token is predicted without it."""
    kl: Tensor
    """[contexts, tokens], nats: KL(with || without) of what is predicted after each token."""
    up_logits: Votes
    """Changes of log-probabilities."""
    down_logits: Votes
    up_probs: Votes
    """Changes of probabilities."""
    down_probs: Votes


def ablation(
    sae: Steerable, hookpoint: str, latent: int, position: int | None = None, output: str | None = None
) -> Steering:
    """Takes `latent` away at one place of the text, or everywhere."""
    return Steering(sae, hookpoint, latent, "ablate", on="both" if position is None else (position,), output=output)


def effects_of(
    model: nn.Module,
    tokenizer: Any | None,
    taken_away: Sequence[Steering],
    token_ids: Tensor,
    attention_mask: Tensor | None = None,
    num_votes: int = NUM_VOTES,
) -> Effects:
    """What the latents of `taken_away` do in contexts `token_ids` [contexts, tokens]; see `ablation`.

    Two forwards, and three tensors of logits in memory.
    """
    present = log_probs_of(model, token_ids, attention_mask)
    with steer(model, tokenizer, taken_away):
        absent = log_probs_of(model, token_ids, attention_mask)
    logits, probs = present - absent, present.exp() - absent.exp()
    votes = [_votes(sign * change, sign, num_votes) for change in (logits, probs) for sign in (1, -1)]
    loss_rise = next_token_loss(absent, token_ids) - next_token_loss(present, token_ids)
    return Effects(loss_rise, kl(present, absent), *votes)


def _votes(change: Tensor, sign: int, num_votes: int) -> Votes:
    largest = torch.topk(change, min(num_votes, change.shape[-1]), dim=-1)
    return Votes(largest.indices, sign * largest.values.clamp_min(0))
