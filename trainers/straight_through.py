"""What stands in for the gradient of a jump, which has none: the rectangle estimators of Rajamanoharan et al. 2024
(arXiv:2407.14435), with K(u) = 1 for |u| < 1/2, else 0.

B rows, L latents. Both take pre-activations [B, L] and a threshold [L], and give [B, L].
"""

from typing import Any

import torch
from torch import Tensor


def jump(pre_acts: Tensor, threshold: Tensor, bandwidth: float) -> Tensor:
    """z H(z - threshold), with d/dz = H(z - threshold) and

    d/dthreshold ~ -(threshold / bandwidth) K((z - threshold) / bandwidth).
    """
    return _Jump.apply(pre_acts, threshold, bandwidth)


def step(pre_acts: Tensor, threshold: Tensor, bandwidth: float) -> Tensor:
    """H(z - threshold): d/dz = 0, d/dthreshold ~ -(1 / bandwidth) K((z - threshold) / bandwidth)."""
    return _Step.apply(pre_acts, threshold, bandwidth)


def exp_of_slope_one(log_threshold: Tensor) -> Tensor:
    """exp(t), whose gradient goes to t as it is."""
    return _ExpOfSlopeOne.apply(log_threshold)


def _window(pre_acts: Tensor, threshold: Tensor, bandwidth: float) -> Tensor:
    """K((z - threshold) / bandwidth), taken about pre-activations: also those below the threshold count."""
    return ((pre_acts - threshold).abs() < bandwidth / 2).to(pre_acts.dtype)


class _Jump(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, pre_acts: Tensor, threshold: Tensor, bandwidth: float) -> Tensor:
        ctx.save_for_backward(pre_acts, threshold)
        ctx.bandwidth = bandwidth
        return pre_acts * (pre_acts > threshold)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        (gradient,), (pre_acts, threshold) = gradients, ctx.saved_tensors
        near = (gradient * _window(pre_acts, threshold, ctx.bandwidth)).sum(0)
        return gradient * (pre_acts > threshold), near * -(threshold / ctx.bandwidth), None


class _Step(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, pre_acts: Tensor, threshold: Tensor, bandwidth: float) -> Tensor:
        ctx.save_for_backward(pre_acts, threshold)
        ctx.bandwidth = bandwidth
        return (pre_acts > threshold).to(pre_acts.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor, None]:
        (gradient,), (pre_acts, threshold) = gradients, ctx.saved_tensors
        near = (gradient * _window(pre_acts, threshold, ctx.bandwidth)).sum(0)
        return None, near * -(1 / ctx.bandwidth), None


class _ExpOfSlopeOne(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, log_threshold: Tensor) -> Tensor:
        return log_threshold.exp()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0]
