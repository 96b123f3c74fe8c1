"""JumpReLU with an L0 penalty (Rajamanoharan et al. 2024, arXiv:2407.14435; as Gemma Scope trained, arXiv:2408.05147).

The penalty moves thresholds alone. By the straight-through estimators, with g_i = d mse / d acts_i,

    dL/dthreshold_i = -1 / bandwidth E[ K((z_i - threshold_i) / bandwidth) (lambda + threshold_i g_i) ]

where K is taken of z. dictionary_learning takes it of the activations, which loses the half of it below the threshold.
"""

import math

import torch
from torch import Tensor, nn

from shared.penalty_configs import JumpReLUConfig
from trainers.autograd_objective import AutogradObjective, Code, Loss
from trainers.jumprelu import JumpReLU
from trainers.schedules import warmup
from trainers.straight_through import jump, step
from trainers.unit_norm import normalise_rows, project_gradient

PEAK_LR = 7e-5
PENALTY = 1e-3
TARGET_PENALTY = 1.0


class JumpReLUObjective(AutogradObjective):
    """loss = E[ ||x - recon||^2 + lambda sum_i H(z_i - threshold_i) ], ||w_i|| = 1, threshold = exp(log_threshold).

    With a target, the second term is lambda (L0 / target - 1)^2 of the batch's mean L0. lambda rises from 0.
    """

    sae: JumpReLU

    def __init__(self, config: JumpReLUConfig, widths: tuple[int, ...], generator: torch.Generator) -> None:
        (d_in,) = widths
        super().__init__(JumpReLU(d_in, config.num_latents, subtracts_b_dec=True))
        self.config = config
        self.peak_lr = config.lr or PEAK_LR
        default = PENALTY if config.target_l0 is None else TARGET_PENALTY
        self.l0_coefficient = default if config.l0_coefficient is None else config.l0_coefficient
        self.log_threshold = nn.Parameter(torch.full((config.num_latents,), math.log(config.threshold_init)))
        with torch.no_grad():
            self.sae.W_dec.uniform_(-1, 1, generator=generator)
            self.constrain_weights()
            self.sae.W_enc.copy_(self.sae.W_dec)

    def code(self, x: Tensor, fraction: float) -> Code:
        pre_acts = self.sae.pre_acts(x).to(self.log_threshold.dtype)
        return Code(jump(pre_acts, self.log_threshold.exp(), self.config.bandwidth), pre_acts)

    def loss(self, x: Tensor, code: Code, dead: Tensor, fraction: float) -> Loss:
        l0_coefficient = self.l0_coefficient * warmup(fraction, self.config.l0_warmup_fraction)
        recon = self.sae.decode(code.acts)
        mse = (x - recon).square().sum(1).mean()
        l0 = step(code.pre_acts, self.log_threshold.exp(), self.config.bandwidth).sum(1).mean()
        target = self.config.target_l0
        penalty = l0 if target is None else (l0 / target - 1).square()
        return Loss(mse + l0_coefficient * penalty, recon, {"mse": mse, "l0_penalty": penalty})

    def constrain_gradients(self) -> None:
        assert self.sae.W_dec.grad is not None
        project_gradient(self.sae.W_dec.grad, self.sae.W_dec.detach())

    @torch.no_grad()
    def constrain_weights(self) -> None:
        normalise_rows(self.sae.W_dec)
        self.sae.threshold.copy_(self.log_threshold.exp())
