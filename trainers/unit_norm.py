"""Decoder directions of length one: without it a penalty or AuxK could be had by shrinking acts and growing weights."""

import torch
from torch import Tensor


def normalise_rows(weights: Tensor) -> None:
    """w <- w / ||w||, in place; a row of zeros stays."""
    norms = torch.linalg.vector_norm(weights, dim=1, keepdim=True)
    weights.div_(norms.clamp_(min=torch.finfo(weights.dtype).tiny))


def project_gradient(gradient: Tensor, weights: Tensor) -> None:
    """g <- g - w <w, g>, in place: what would only change the length of the unit rows `weights` goes."""
    along = torch.linalg.vecdot(weights, gradient).unsqueeze(1)
    gradient.addcmul_(weights, along, value=-1)
