"""What an architecture adds to an SAE for training it: start, gradient, constraints.

An objective is a module, so its parameters and buffers are all that a checkpoint has to hold of it. `backward` may
call autograd or write the gradients by hand; either way it leaves them in `.grad`, overwritten, not added.
"""

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor, nn

from trainers.firing import Firing
from trainers.sae import SparseAutoencoder


class BatchResult(NamedTuple):
    """What a batch's gradient was computed from."""

    error: Tensor
    """[rows, d_in]: x - recon."""
    l0: float
    """Mean active latents of a row."""
    losses: dict[str, float]
    """`loss`, which was minimised, and its parts."""


class Objective(nn.Module, ABC):
    """An SAE and the loss it is trained by."""

    peak_lr: float
    lr_decay_fraction: float
    adam_eps: float = 1e-8

    def __init__(self, sae: SparseAutoencoder) -> None:
        super().__init__()
        self.sae = sae

    def start(self, rows: Tensor) -> None:
        """Measures what must be measured on the first rows, [rows, d_in], scaled."""

    @abstractmethod
    def backward(self, x: Tensor, firing: Firing, fraction: float) -> BatchResult:
        """Writes the gradient of the loss on `x` [rows, d_in] and counts who fired.

        Args:
            fraction: of the token budget that was trained on before this batch.
        """

    def constrain_gradients(self) -> None:
        """Runs between gradient and clipping."""

    def constrain_weights(self) -> None:
        """Runs after each optimiser step."""


def gradient_of(parameter: Tensor) -> Tensor:
    """The parameter's gradient to write into, made of zeros where there was none yet."""
    if parameter.grad is None:
        parameter.grad = torch.zeros_like(parameter)
    return parameter.grad
