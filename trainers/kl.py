"""Sigmoid activations whose means a KL divergence holds at a target (Ng, CS294A lecture notes, UFLDL exercise).

Every latent is a little active on every row, so an activation above a half is what counts as firing. Activations lie
between 0 and 1 whatever the scale of rows: that of the reconstruction stays in the decoder, when it is saved too.
"""

import math

import torch
from torch import Tensor

from shared.penalty_configs import KlConfig
from trainers.autograd_objective import AutogradObjective, Code, Loss
from trainers.sae import SparseAutoencoder
from trainers.unit_norm import normalise_rows

PEAK_LR = 1e-3
EPS = 1e-6
"""Mean activations are held this far from 0 and 1, where the divergence has no end."""


class Sigmoid(SparseAutoencoder):
    """acts = sigmoid(W_enc x + b_enc);  recon = acts W_dec + b_dec."""

    is_homogeneous = False
    fires_above = 0.5

    def activate(self, pre_acts: Tensor) -> Tensor:
        return pre_acts.sigmoid()


class KlObjective(AutogradObjective):
    """loss = E[ ||x - recon||^2 ] / 2 + beta sum_i KL(rho || rho_i) + weight_decay (||W_enc||^2 + ||W_dec||^2) / 2,

    KL(rho || r) = rho log(rho / r) + (1 - rho) log((1 - rho) / (1 - r)), rho_i the mean of acts_i. The mean is over
    this batch and, fading, those before; its gradient is taken as if it were over this batch alone, so that
    remembering does not weaken it. The mean is kept as a sum and a weight: those of shards may be added.

    Starts with b_enc at logit(rho), where the penalty is about 0, and b_dec at the mean of the first rows.
    """

    fired_above = Sigmoid.fires_above
    act_sum: Tensor
    weight: Tensor

    def __init__(self, config: KlConfig, widths: tuple[int, ...], generator: torch.Generator) -> None:
        (d_in,) = widths
        super().__init__(Sigmoid(d_in, config.num_latents))
        self.config = config
        self.peak_lr = config.lr or PEAK_LR
        self.register_buffer("act_sum", torch.zeros(config.num_latents, dtype=torch.float64))
        self.register_buffer("weight", torch.zeros((), dtype=torch.float64))
        with torch.no_grad():
            self.sae.W_dec.normal_(generator=generator)
            normalise_rows(self.sae.W_dec)
            self.sae.W_enc.copy_(self.sae.W_dec)
            self.sae.b_enc.fill_(math.log(config.rho / (1 - config.rho)))

    @torch.no_grad()
    def start(self, rows: Tensor) -> None:
        self.sae.b_dec.copy_(rows.mean(0))

    @property
    def mean_acts(self) -> Tensor:
        """rho_i, float64 [num_latents]."""
        return (self.act_sum / self.weight).clamp(EPS, 1 - EPS)

    def code(self, x: Tensor, fraction: float) -> Code:
        pre_acts = self.sae.pre_acts(x)
        return Code(self.sae.activate(pre_acts), pre_acts)

    def loss(self, x: Tensor, code: Code, dead: Tensor, fraction: float) -> Loss:
        self._remember(code.acts.detach())
        recon = self.sae.decode(code.acts)
        mse, kl = (x - recon).square().sum(1).mean(), self._divergence(code.acts)
        decay = self.sae.W_enc.square().sum() + self.sae.W_dec.square().sum()
        total = mse / 2 + self.config.beta * kl + self.config.weight_decay / 2 * decay
        return Loss(total, recon, {"mse": mse, "kl": kl, "squared_weights": decay})

    def _remember(self, acts: Tensor) -> None:
        self.act_sum.mul_(self.config.rho_decay).add_(acts.sum(0, dtype=torch.float64))
        self.weight.mul_(self.config.rho_decay).add_(len(acts))

    def _divergence(self, acts: Tensor) -> Tensor:
        """sum_i KL(rho || rho_i), with the gradient (-rho / rho_i + (1 - rho) / (1 - rho_i)) of this batch's means."""
        rho, means = self.config.rho, self.mean_acts
        value = (rho * (rho / means).log() + (1 - rho) * ((1 - rho) / (1 - means)).log()).sum()
        slope = (-rho / means + (1 - rho) / (1 - means)).to(acts.dtype)
        along = (slope * acts.mean(0)).sum()
        return value.to(acts.dtype) + along - along.detach()
