"""What a model predicts, compared with what it predicts otherwise; all in nats, float32."""

import torch
from torch import Tensor, nn


def log_probs_of(model: nn.Module, token_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
    """Log-probabilities [contexts, tokens, vocabulary] of what follows each of `token_ids` [contexts, tokens]."""
    device = next(model.parameters()).device
    mask = torch.ones_like(token_ids) if attention_mask is None else attention_mask
    with torch.no_grad():
        logits = model(input_ids=token_ids.to(device), attention_mask=mask.to(device)).logits
    return logits.float().log_softmax(-1)


def kl(of: Tensor, to: Tensor) -> Tensor:
    """KL(of || to) of log-probabilities [..., vocabulary]: [...], at least 0."""
    return (of.exp() * (of - to)).sum(-1).clamp(min=0)


def next_token_loss(log_probs: Tensor, token_ids: Tensor) -> Tensor:
    """-log p of each token that follows, [contexts, tokens - 1]."""
    after = token_ids[:, 1:].to(log_probs.device)
    return -log_probs[:, :-1].gather(-1, after[..., None])[..., 0]
