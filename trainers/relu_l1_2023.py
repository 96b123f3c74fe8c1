"""ReLU with an L1 penalty and decoder directions of length one (Bricken et al. 2023, "Towards Monosemanticity").

The penalty's gradient on an activation is the same at any size, so all are too small by about lambda / 2.
"""

import torch
from torch import Tensor

from shared.penalty_configs import ReluL12023Config
from trainers.autograd_objective import Code
from trainers.geometric_median import geometric_median
from trainers.relu import Relu
from trainers.schedules import warmup
from trainers.unit_norm_objective import RowLosses, UnitNormObjective


class ReluL12023Objective(UnitNormObjective):
    """loss = E[ ||x - recon||^2 + lambda sum_i acts_i ], acts = ReLU(W_enc (x - b_dec) + b_enc), ||w_i|| = 1."""

    def __init__(self, config: ReluL12023Config, widths: tuple[int, ...], generator: torch.Generator) -> None:
        (d_in,) = widths
        super().__init__(Relu(d_in, config.num_latents, subtracts_b_dec=True), config, generator)
        self.l1_coefficient = config.l1_coefficient
        self.l1_warmup_fraction = config.l1_warmup_fraction

    @torch.no_grad()
    def start(self, rows: Tensor) -> None:
        self.sae.b_dec.copy_(geometric_median(rows))

    def code(self, x: Tensor, fraction: float) -> Code:
        pre_acts = self.sae.pre_acts(x)
        return Code(pre_acts.relu(), pre_acts)

    def row_losses(self, x: Tensor, code: Code, fraction: float) -> RowLosses:
        l1_coefficient = self.l1_coefficient * warmup(fraction, self.l1_warmup_fraction)
        recon = self.sae.decode(code.acts)
        mse, l1 = (x - recon).square().sum(1), code.acts.sum(1)
        return RowLosses(mse + l1_coefficient * l1, recon, {"mse": mse, "l1": l1})
