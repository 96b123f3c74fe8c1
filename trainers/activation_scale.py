"""The one constant that all activations of a hookpoint are multiplied by.

Measured once, on the first block, and the same for every trainer of that hookpoint and rule; the exported SAE has it
folded in.
"""

import math

import torch
from torch import Tensor


def activation_scale(activations: Tensor, normalize: str = "sqrt_d") -> float:
    """For sqrt_d sqrt(d_in) / mean ||x||, for unit_mean_square 1 / sqrt(mean ||x||^2), else 1; summed in float64.

    Args:
        activations: [rows, d_in], any float dtype.
        normalize: the rule, as job files name it.
    Raises:
        ValueError: no rows, only zeros, or values that are not finite.
    """
    if normalize not in ("sqrt_d", "unit_mean_square"):
        return 1.0
    norms = torch.linalg.vector_norm(activations, dim=1, dtype=torch.float64)
    mean = norms.mean().item() if normalize == "sqrt_d" else norms.square().mean().sqrt().item()
    if not math.isfinite(mean) or mean == 0:
        raise ValueError(f"the scale of activations needs a finite mean norm above 0, got {mean}")
    return (math.sqrt(activations.shape[1]) if normalize == "sqrt_d" else 1.0) / mean
