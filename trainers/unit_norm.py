"""Decoder directions of length one: without it a penalty or AuxK could be had by shrinking acts and growing weights."""

import torch
from torch import Tensor

from trainers import gpu_kernels


def normalise_rows(weights: Tensor) -> None:
    """w <- w / ||w||, in place; a row of zeros stays."""
    if gpu_kernels.runs_on(weights) and weights.is_contiguous():
        return gpu_kernels.normalise_rows(weights)
    norms = torch.linalg.vector_norm(weights, dim=1, keepdim=True)
    weights.div_(norms.clamp_(min=torch.finfo(weights.dtype).tiny))


def project_gradient(gradient: Tensor, weights: Tensor) -> None:
    """g <- g - w <w, g>, in place: what would only change the length of the unit rows `weights` goes."""
    if gpu_kernels.runs_on(gradient) and gradient.is_contiguous() and weights.is_contiguous():
        return gpu_kernels.project_gradient(gradient, weights)
    along = torch.linalg.vecdot(weights, gradient).unsqueeze(1)
    gradient.addcmul_(weights, along, value=-1)
