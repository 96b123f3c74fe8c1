"""What losses have in common that need decoder directions of length one: the start, the constraint, silent latents.

Without the constraint a penalty on activations could be had by shrinking them and growing directions.
"""

from abc import abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor

from shared.penalty_configs import UnitNormConfig
from trainers.autograd_objective import AutogradObjective, Code, Loss
from trainers.firing import Firing
from trainers.objective import BatchResult
from trainers.resampling import Resampling, renew
from trainers.sae import SparseAutoencoder
from trainers.unit_norm import normalise_rows, project_gradient

PEAK_LR = 3e-4


class RowLosses(NamedTuple):
    """The loss of each row of a batch."""

    total: Tensor
    """[rows]"""
    recon: Tensor
    """[rows, d_in]"""
    parts: dict[str, Tensor]
    """[rows] each."""


class UnitNormObjective(AutogradObjective):
    """loss = mean over rows of `row_losses`; ||w_i|| = 1; silent latents are made anew where the job asks for it.

    Starts with random directions, the same in both matrices.
    """

    def __init__(self, sae: SparseAutoencoder, config: UnitNormConfig, generator: torch.Generator) -> None:
        super().__init__(sae)
        self.peak_lr = config.lr or PEAK_LR
        self.resampling = Resampling(config, sae.num_latents, sae.d_in, generator.initial_seed())
        with torch.no_grad():
            sae.W_dec.normal_(generator=generator)
            normalise_rows(sae.W_dec)
            sae.W_enc.copy_(sae.W_dec)

    @abstractmethod
    def row_losses(self, x: Tensor, code: Code, fraction: float) -> RowLosses:
        """The loss of each row of `x` [rows, d_in]."""

    def loss(self, x: Tensor, code: Code, dead: Tensor, fraction: float) -> Loss:
        rows = self.row_losses(x, code, fraction)
        return Loss(rows.total.mean(), rows.recon, {name: part.mean() for name, part in rows.parts.items()})

    def backward(self, x: Tensor, firing: Firing, fraction: float) -> BatchResult:
        result = super().backward(x, firing, fraction)
        self.resampling.watch(firing.tokens_since_fired == 0, fraction)
        return result

    def lr_factor(self, fraction: float) -> float:
        return self.resampling.lr_factor(fraction)

    def constrain_gradients(self) -> None:
        assert self.sae.W_dec.grad is not None
        project_gradient(self.sae.W_dec.grad, self.sae.W_dec.detach())

    @torch.no_grad()
    def constrain_weights(self) -> None:
        normalise_rows(self.sae.W_dec)

    @torch.no_grad()
    def after_step(self, x: Tensor, optimiser: torch.optim.Optimizer, fraction: float) -> None:
        if not self.resampling.is_drawing(fraction):
            return
        self.resampling.offer(x, self.row_losses(x, self.code(x, fraction), fraction).total)
        renewal = self.resampling.take(fraction)
        if renewal is not None:
            renew(self.sae, renewal, optimiser)
