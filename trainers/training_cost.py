"""FLOPs of training an SAE on one token, by architecture: a multiply and an add count as two.

With e the width that is read, o the width that is reconstructed (both d for an SAE), m latents and k active ones:
dense    6 m (e + o)             12 d m: both products forward, and twice that backward
sparse   2 m e + k (2 e + 6 o)   2 d m + 8 k d: only the encoder product forward is dense, the rest touches k latents
gated    1.5 times dense         a second path through encoder and decoder
12 d m reproduces the MFU that Gemma Scope reports (arXiv:2408.05147). What is not a matrix product is left out.
"""

from typing import NamedTuple

import numpy as np

from trainers.codes import SPARSE_BELOW
from trainers.scaling_law import Floats

ALWAYS_SPARSE = frozenset({"topk"})
SPARSE_WHERE_FEW_FIRE = frozenset({"relu_l1"})
"""Sparse as long as fewer than `SPARSE_BELOW` of the latents are active."""
GATED_FACTOR = 1.5


class SaeShape(NamedTuple):
    """What the cost of an SAE depends on, but for its latents."""

    architecture: str
    d_in: int
    d_out: int
    active: float
    """L0."""


def training_flops(shape: SaeShape, num_latents: Floats) -> Floats:
    """FLOPs of one token's share of a training step, for each of `num_latents`."""
    widths = shape.d_in + shape.d_out
    dense = 6.0 * num_latents * widths
    if shape.architecture == "gated":
        return GATED_FACTOR * dense
    sparse = 2.0 * num_latents * shape.d_in + shape.active * (2.0 * shape.d_in + 6.0 * shape.d_out)
    if shape.architecture in ALWAYS_SPARSE:
        return sparse
    if shape.architecture in SPARSE_WHERE_FEW_FIRE:
        return np.where(shape.active < SPARSE_BELOW * num_latents, sparse, dense)
    return dense
