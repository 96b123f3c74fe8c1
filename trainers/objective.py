"""What an architecture adds to an SAE for training it: start, gradient, constraints.

An objective is a module, so its parameters and buffers are all that a checkpoint has to hold of it. `backward` may
call autograd (`trainers.autograd_objective`) or write the gradients by hand; either way it leaves them in `.grad`,
overwritten, not added.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from shared.trainer_config import TrainerConfig
from trainers.firing import Firing
from trainers.sae import SparseAutoencoder


class BatchResult(NamedTuple):
    """What a batch's gradient was computed from."""

    target: Tensor
    """[rows, d_out]: what was to be reconstructed."""
    error: Tensor
    """[rows, d_out]: target - recon."""
    l0: float | Tensor
    """Mean active latents of a row."""
    losses: Mapping[str, float | Tensor]
    """`loss`, which was minimised, and its parts; on a GPU they may be tensors, for which nobody has waited yet."""


class Objective(nn.Module, ABC):
    """An SAE and the loss it is trained by.

    A subclass is made as `Class(config, widths, generator)`: its configuration, the widths of the columns that a row
    is made of (one for an SAE; input and target for a transcoder; one for each hookpoint of a crosscoder), and the
    generator that its weights are drawn by.
    """

    Config: ClassVar[type[TrainerConfig]] = TrainerConfig
    """What an architecture from outside checks its keys by."""
    peak_lr: float
    adam_eps: float = 1e-8

    def __init__(self, sae: SparseAutoencoder) -> None:
        super().__init__()
        self.sae = sae

    def split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What is encoded, [rows, d_in], and what is to be reconstructed, [rows, d_out], of a batch.

        Inputs come first in a row, targets last; an SAE's are the whole row.
        """
        return x[:, : self.sae.d_in], x[:, -self.sae.d_out :]

    def start(self, rows: Tensor) -> None:
        """Measures what must be measured on the first rows, [rows, sum of widths], scaled and normalised."""

    @abstractmethod
    def backward(self, x: Tensor, firing: Firing, fraction: float) -> BatchResult:
        """Writes the gradient of the loss on `x` [rows, sum of widths] and counts who fired.

        Args:
            fraction: of the token budget that was trained on before this batch.
        """

    def lr_factor(self, fraction: float) -> float:
        """What the learning rate of the step that begins at `fraction` of the token budget is multiplied by."""
        return 1.0

    def constrain_gradients(self) -> None:
        """Runs between gradient and clipping."""

    def constrain_weights(self) -> None:
        """Runs after each optimiser step."""

    def after_step(self, x: Tensor, optimiser: torch.optim.Optimizer, fraction: float) -> None:
        """Runs at the end of each step, on the batch that it ended with: resampling, annealing.

        Args:
            fraction: of the token budget that was trained on, this batch included.
        """

    def trained(self) -> SparseAutoencoder:
        """The SAE as it is to be used, for rows scaled and normalised as in training."""
        return self.sae


def gradient_of(parameter: Tensor) -> Tensor:
    """The parameter's gradient to write into, made of zeros where there was none yet."""
    if parameter.grad is None:
        parameter.grad = torch.zeros_like(parameter)
    return parameter.grad
