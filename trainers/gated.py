"""Gated SAE (Rajamanoharan et al. 2024, arXiv:2404.16014): one path says which latents fire, the other how much.

The penalty touches the first alone, so what fires is not made too small. Both paths are one matrix product.
"""

import torch
from torch import Tensor, nn

from shared.penalty_configs import GatedConfig
from trainers.autograd_objective import Code
from trainers.sae import SparseAutoencoder
from trainers.schedules import warmup
from trainers.unit_norm_objective import RowLosses, UnitNormObjective


class Gated(SparseAutoencoder):
    """acts = 1[h + b_gate > 0] ReLU(exp(r_mag) h + b_mag), h = W_enc (x - b_dec);  recon = acts W_dec + b_dec."""

    in_act_units = ("b_gate", "b_mag")

    def __init__(self, d_in: int, num_latents: int, subtracts_b_dec: bool = True) -> None:
        super().__init__(d_in, num_latents, subtracts_b_dec=subtracts_b_dec)
        del self.b_enc
        self.b_gate = nn.Parameter(torch.zeros(num_latents))
        self.r_mag = nn.Parameter(torch.zeros(num_latents))
        self.b_mag = nn.Parameter(torch.zeros(num_latents))

    def pre_acts(self, x: Tensor) -> Tensor:
        """h, which both paths share."""
        return (x - self.b_dec if self.subtracts_b_dec else x) @ self.W_enc.T

    def activate(self, pre_acts: Tensor) -> Tensor:
        magnitudes = (self.r_mag.exp() * pre_acts + self.b_mag).relu()
        return torch.where(pre_acts + self.b_gate > 0, magnitudes, 0.0)


class GatedObjective(UnitNormObjective):
    """loss = E[ ||x - recon||^2 + lambda sum_i ReLU(pi_i) + ||x - recon(ReLU(pi))||^2 ], ||w_i|| = 1.

    pi = W_enc (x - b_dec) + b_gate; in the last term the decoder, b_dec included, is a constant.
    """

    sae: Gated

    def __init__(self, config: GatedConfig, widths: tuple[int, ...], generator: torch.Generator) -> None:
        (d_in,) = widths
        super().__init__(Gated(d_in, config.num_latents), config, generator)
        self.l1_coefficient = config.l1_coefficient
        self.l1_warmup_fraction = config.l1_warmup_fraction

    def code(self, x: Tensor, fraction: float) -> Code:
        shared = self.sae.pre_acts(x)
        return Code(self.sae.activate(shared), shared + self.sae.b_gate)

    def row_losses(self, x: Tensor, code: Code, fraction: float) -> RowLosses:
        l1_coefficient = self.l1_coefficient * warmup(fraction, self.l1_warmup_fraction)
        recon, opened = self.sae.decode(code.acts), code.pre_acts.relu()
        frozen = opened @ self.sae.W_dec.detach() + self.sae.b_dec.detach()
        mse, l1, aux = (x - recon).square().sum(1), opened.sum(1), (x - frozen).square().sum(1)
        return RowLosses(mse + l1_coefficient * l1 + aux, recon, {"mse": mse, "l1": l1, "aux": aux})
