"""JumpReLU with a tanh penalty (Anthropic, January 2025: "Dictionary learning optimization techniques").

Unlike the L0 penalty, tanh of an activation has a gradient, so every weight is pushed, not thresholds alone. Of a
threshold exp(t) the gradient is as the update states it,

    d acts / dt ~ -(exp(t) / bandwidth) K((z - exp(t)) / bandwidth).

The chain rule from the estimator of Rajamanoharan et al. would give exp(t) times as much; the update's settings were
found with its own, both are nearly equal at the start (t = 0.1), and Adam takes out most of a factor for each latent.
"""

import math

import torch
from torch import Tensor, nn

from shared.penalty_configs import JumpReLUTanhConfig
from trainers.autograd_objective import AutogradObjective, Code, Loss
from trainers.jumprelu import JumpReLU
from trainers.schedules import warmup
from trainers.straight_through import exp_of_slope_one, jump

PEAK_LR = 2e-4
START_ROWS = 4096
"""Rows that the biases at the start are measured on."""
MAX_START_SHARE = 0.5
"""Of rows that a latent fires on at the start. In small dictionaries start_l0 would have all of them fire always, which
found fewer features in every run that was tried."""
PIECE_LATENTS = 4096


class JumpReLUTanhObjective(AutogradObjective):
    """loss = E[ ||x - recon||^2 + lambda_S sum_i tanh(c acts_i ||w_i||)
                                 + lambda_P sum_i ReLU(exp(t_i) - z_i) ||w_i|| ].

    lambda_S rises from 0 over the whole run. The last term draws latents that do not fire towards their thresholds.
    """

    sae: JumpReLU

    def __init__(self, config: JumpReLUTanhConfig, widths: tuple[int, ...], generator: torch.Generator) -> None:
        (d_in,) = widths
        super().__init__(JumpReLU(d_in, config.num_latents))
        self.config = config
        self.peak_lr = config.lr or PEAK_LR
        self.log_threshold = nn.Parameter(torch.full((config.num_latents,), config.log_threshold_init))
        bound = 1 / math.sqrt(d_in)
        with torch.no_grad():
            self.sae.W_dec.uniform_(-bound, bound, generator=generator)
            self.sae.W_enc.copy_(self.sae.W_dec).mul_(d_in / config.num_latents)
        self.constrain_weights()

    @torch.no_grad()
    def start(self, rows: Tensor) -> None:
        """b_enc, so that each latent fires on a share start_l0 / num_latents of `rows`."""
        rows = rows[:START_ROWS]
        share = min(MAX_START_SHARE, self.config.start_l0 / self.sae.num_latents)
        num_firing = max(1, round(share * len(rows)))
        for start in range(0, self.sae.num_latents, PIECE_LATENTS):
            piece = slice(start, start + PIECE_LATENTS)
            largest_silent = (self.sae.W_enc[piece] @ rows.T).kthvalue(len(rows) - num_firing, dim=1).values
            self.sae.b_enc[piece] = self.sae.threshold[piece] - largest_silent

    def code(self, x: Tensor, fraction: float) -> Code:
        pre_acts = self.sae.pre_acts(x).to(self.log_threshold.dtype)
        return Code(jump(pre_acts, exp_of_slope_one(self.log_threshold), self.config.bandwidth), pre_acts)

    def loss(self, x: Tensor, code: Code, dead: Tensor, fraction: float) -> Loss:
        config = self.config
        sparsity_coefficient = config.sparsity_coefficient * warmup(fraction, config.sparsity_warmup_fraction)
        norms = torch.linalg.vector_norm(self.sae.W_dec, dim=1)
        recon = self.sae.decode(code.acts)
        mse = (x - recon).square().sum(1).mean()
        sparsity = (config.tanh_scale * code.acts * norms).tanh().sum(1).mean()
        below = ((self.log_threshold.exp() - code.pre_acts).relu() * norms).sum(1).mean()
        total = mse + sparsity_coefficient * sparsity + config.pre_act_coefficient * below
        return Loss(total, recon, {"mse": mse, "tanh": sparsity, "pre_act": below})

    @torch.no_grad()
    def constrain_weights(self) -> None:
        self.sae.threshold.copy_(self.log_threshold.exp())
