"""Dense matrix products of gradients that are written by hand, in half precision where `torch.autocast` asks for it.

Operands and results are in the dtype of the weights; only the product itself is rounded. What is sparse stays whole.
"""

import torch
from torch import Tensor


def operand(tensor: Tensor) -> Tensor:
    """`tensor` as products take it, so that it is cast once for several of them."""
    kind = tensor.device.type
    return tensor.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else tensor


def product(left: Tensor, right: Tensor) -> Tensor:
    """left right, in the dtype of `left`; of a vector on a GPU not rounded, which would cost more than it saves."""
    if left.is_cuda and left.dim() == 1:
        with torch.autocast("cuda", enabled=False):
            return left @ right
    return (operand(left) @ operand(right)).to(left.dtype)


def affine(bias: Tensor, rows: Tensor, weights: Tensor, out: Tensor) -> Tensor:
    """out = rows weights^T + bias, for an `operand` [L, D], rows [B, D], bias [L] and out [B, L].

    Where `out` is in the half precision of `weights`, the bias and the result are rounded to it as well.
    """
    if weights.dtype == out.dtype:
        return torch.addmm(bias.to(out.dtype), rows.to(out.dtype), weights.T, out=out)
    return out.copy_(rows.to(weights.dtype) @ weights.T).add_(bias)


def add_product(target: Tensor, left: Tensor, right: Tensor, beta: float = 1.0, alpha: float = 1.0) -> None:
    """target = beta target + alpha left right, in place; with beta 0 whatever stood there does not matter."""
    if not torch.is_autocast_enabled(target.device.type):
        torch.addmm(target, left, right, beta=beta, alpha=alpha, out=target)
    elif beta == 0:
        target.copy_(product(left, right)).mul_(alpha)
    else:
        target.mul_(beta).add_(product(left, right), alpha=alpha)
