"""The one constant that activations are multiplied by: their mean norm becomes sqrt(d_in).

Measured once, on the first block, and the same for every trainer of a hookpoint; the exported SAE has it folded in.
"""

import math

import torch
from torch import Tensor


def activation_scale(activations: Tensor) -> float:
    """sqrt(d_in) / mean ||x||, summed in float64.

    Args:
        activations: [rows, d_in], any float dtype.
    Raises:
        ValueError: no rows, only zeros, or values that are not finite.
    """
    norms = torch.linalg.vector_norm(activations, dim=1, dtype=torch.float64)
    mean = norms.mean().item()
    if not math.isfinite(mean) or mean == 0:
        raise ValueError(f"the scale of activations needs a finite mean norm above 0, got {mean}")
    return math.sqrt(activations.shape[1]) / mean
