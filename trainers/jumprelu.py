"""The SAE whose latents fire above a threshold each: what JumpReLU and batch-top-k training end in."""

from typing import ClassVar

import torch
from torch import Tensor

from trainers.sae import SparseAutoencoder


class JumpReLU(SparseAutoencoder):
    """acts = z where z > threshold, else 0;  z = ReLU(W_enc x + b_enc), or of x - b_dec;  recon = acts W_dec + b_dec.

    `threshold` is [num_latents]. It is no parameter: what learns it holds it in a form of its own.
    """

    in_act_units: ClassVar[tuple[str, ...]] = ("b_enc", "threshold")
    threshold: Tensor

    def __init__(self, d_in: int, num_latents: int, d_out: int | None = None, subtracts_b_dec: bool = False) -> None:
        super().__init__(d_in, num_latents, d_out, subtracts_b_dec)
        self.register_buffer("threshold", torch.zeros(num_latents))

    def activate(self, pre_acts: Tensor) -> Tensor:
        return pre_acts.relu() * (pre_acts > self.threshold)
