"""p-annealing (Karvonen et al. 2024, arXiv:2408.00113): the penalty begins as L1 and comes near to counting latents.

p falls in steps. Each time lambda is rescaled by what the penalty was over the last batches at the old and the new p,
so that the loss goes on from where it was. All that is kept for this stands in buffers.
"""

import torch
from torch import Tensor

from shared.penalty_configs import PAnnealConfig
from trainers.autograd_objective import Code, Loss
from trainers.relu import Relu
from trainers.schedules import warmup
from trainers.unit_norm_objective import RowLosses, UnitNormObjective

RECENT_BATCHES = 10


class PAnnealObjective(UnitNormObjective):
    """loss = E[ ||x - recon||^2 + lambda sum_i acts_i^p ], acts = ReLU(W_enc (x - b_dec) + b_enc), ||w_i|| = 1."""

    num_changes: Tensor
    rescaling: Tensor
    recent: Tensor

    def __init__(self, config: PAnnealConfig, widths: tuple[int, ...], generator: torch.Generator) -> None:
        (d_in,) = widths
        super().__init__(Relu(d_in, config.num_latents, subtracts_b_dec=True), config, generator)
        self.config = config
        self.register_buffer("num_changes", torch.zeros((), dtype=torch.int64))
        """Of p, so far."""
        self.register_buffer("rescaling", torch.ones((), dtype=torch.float64))
        """What lambda is multiplied by."""
        self.register_buffer("recent", torch.zeros(RECENT_BATCHES, 2, dtype=torch.float64))
        """The penalty of the last batches at the present p and at the next."""

    def code(self, x: Tensor, fraction: float) -> Code:
        pre_acts = self.sae.pre_acts(x)
        return Code(pre_acts.relu(), pre_acts)

    def loss(self, x: Tensor, code: Code, dead: Tensor, fraction: float) -> Loss:
        self._anneal(code.acts.detach(), fraction)
        return super().loss(x, code, dead, fraction)

    def row_losses(self, x: Tensor, code: Code, fraction: float) -> RowLosses:
        l1_coefficient = self.config.l1_coefficient * warmup(fraction, self.config.l1_warmup_fraction)
        recon = self.sae.decode(code.acts)
        mse, penalty = (x - recon).square().sum(1), sum_of_powers(code.acts, self.power(int(self.num_changes)))
        total = mse + l1_coefficient * self.rescaling.item() * penalty
        return RowLosses(total, recon, {"mse": mse, "penalty": penalty})

    def power(self, num_changes: int) -> float:
        """p after so many changes."""
        return 1 + (self.config.p_end - 1) * num_changes / (self.config.num_powers - 1)

    def _anneal(self, acts: Tensor, fraction: float) -> None:
        """Remembers the penalty of this batch, and lets p fall where it is due."""
        num_changes = int(self.num_changes)
        if num_changes == self.config.num_powers - 1:
            return
        powers = self.power(num_changes), self.power(num_changes + 1)
        penalties = torch.stack([sum_of_powers(acts, power).mean() for power in powers])
        self.recent = torch.cat([self.recent[1:], penalties.double()[None]])
        if num_changes < changes_due(self.config, fraction):
            before, after = self.recent.sum(0)
            self.rescaling *= torch.where(after > 0, before / after, 1.0)
            self.num_changes += 1
            self.recent = torch.zeros_like(self.recent)


def changes_due(config: PAnnealConfig, fraction: float) -> int:
    """How often p should have fallen at `fraction` of the token budget."""
    annealed = (fraction - config.anneal_from_fraction) / (1 - config.anneal_from_fraction)
    return min(config.num_powers - 1, max(0, int(annealed * config.num_powers)))


def sum_of_powers(acts: Tensor, power: float) -> Tensor:
    """[rows]: sum_i acts_i^power over those above zero, of acts [rows, num_latents]."""
    fires = acts > 0
    return (torch.where(fires, acts, 1.0).pow(power) * fires).sum(1)
