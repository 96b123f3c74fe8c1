"""Which directions are nearest to which, by cosine: one matrix product in blocks, no index."""

import numpy as np
import torch
from torch import Tensor

from features.catalog import Nearest

BLOCK_VALUES = 2**25
"""Cosines that are in memory at one time, 128 MiB."""


@torch.inference_mode()
def nearest(directions: Tensor, others: Tensor | None = None, count: int = 10) -> Nearest:
    """Of each of `directions` [L, D] the nearest of `others` [M, D], or of the directions but itself.

    Of equal cosines the lower number comes first; a direction of zeros is nearest to nobody, at cosine 0.
    """
    units = _unit(directions)
    targets = units if others is None else _unit(others)
    found = min(count, len(targets) - (others is None))
    step = max(1, BLOCK_VALUES // len(targets))
    parts = []
    for start in range(0, len(units), step):
        cosines = units[start : start + step] @ targets.T
        if others is None:
            own = torch.arange(len(cosines), device=cosines.device)
            cosines[own, start + own] = -torch.inf
        parts.append(torch.topk(cosines, found, dim=1))
    ids = torch.cat([one.indices for one in parts]).cpu().numpy().astype(np.int32)
    return Nearest(ids, torch.cat([one.values for one in parts]).cpu().numpy())


def _unit(directions: Tensor) -> Tensor:
    return torch.nn.functional.normalize(directions.float(), dim=1)
