"""Dose and response: what the model writes as a steering grows.

Texts change in leaps, so the curve has smooth numbers beside them: how far predictions move, how likely the tokens
become that the latent stands for, and how strange the model finds by itself what it wrote: there the useful range ends.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from features.comparison import look_at
from features.generation import Sampling, generate
from features.steering import Steering, steer
from shared.errors import UserError


@dataclass(frozen=True)
class Dose:
    """The response to one strength, means over all new tokens of all samples."""

    strength: float
    kl: float
    """KL(steered || baseline) on what was written steered, nats a token."""
    loss: float
    """Surprise of that text to the model as it is, nats a token."""
    target_share: float | None
    """Of the tokens that were written steered, those that are targets; None where there are no targets."""
    target_probability: float | None
    """That the steered model gives to all targets together, along what it writes by itself."""
    written: list[Tensor]
    """The new tokens of each sample."""


def dose_response(
    model: nn.Module,
    tokenizer: Any | None,
    prompt: Tensor,
    steerings: Sequence[Steering],
    doses: Sequence[float],
    sampling: Sampling,
    targets: Collection[int] = (),
) -> list[Dose]:
    """The response to each dose; a dose multiplies the strength of every steering.

    Args:
        prompt: int64 [tokens].
        targets: the token ids that the latents stand for.
    Raises:
        UserError: a steering has no strength, since it ablates.
    """
    if any(one.mode == "ablate" for one in steerings):
        raise UserError("there is no dose of ablate: use scale, with doses from 1 to 0")
    baseline = generate(model, prompt, sampling)
    wanted = torch.tensor(sorted(targets), dtype=torch.int64)
    return [
        _response(model, tokenizer, prompt, _dosed(steerings, dose), dose, sampling, wanted, baseline) for dose in doses
    ]


def _dosed(steerings: Sequence[Steering], dose: float) -> list[Steering]:
    return [replace(one, strength=one.strength * dose) for one in steerings]


def _response(
    model: nn.Module,
    tokenizer: Any | None,
    prompt: Tensor,
    steerings: Sequence[Steering],
    dose: float,
    sampling: Sampling,
    targets: Tensor,
    baseline: Sequence[Tensor],
) -> Dose:
    with steer(model, tokenizer, steerings, prompt_tokens=len(prompt)):
        written = generate(model, prompt, sampling)
    looks = look_at(model, tokenizer, prompt, written, steerings)
    share = probability = None
    if len(targets):
        tokens = torch.cat(list(written)).cpu()
        share = torch.isin(tokens, targets).float().mean().item()
        along = torch.cat([one.log_probs for one in look_at(model, tokenizer, prompt, baseline, steerings)])
        probability = along[:, targets.to(along.device)].exp().sum(-1).mean().item()
    return Dose(
        strength=dose,
        kl=torch.cat([one.kl for one in looks]).mean().item(),
        loss=torch.cat([one.loss for one in looks]).mean().item(),
        target_share=share,
        target_probability=probability,
        written=list(written),
    )
