"""An objective whose gradient torch finds: it states its activations and its loss, and nothing else."""

from abc import abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor

from trainers.firing import Firing
from trainers.objective import BatchResult, Objective


class Code(NamedTuple):
    """How a batch is encoded while training, with gradient."""

    acts: Tensor
    """[rows, num_latents]; what is above `fired_above` has fired."""
    pre_acts: Tensor
    """[rows, num_latents]."""


class Loss(NamedTuple):
    """The loss of a batch."""

    total: Tensor
    """What is minimised: one number."""
    recon: Tensor
    """[rows, d_out]."""
    parts: dict[str, Tensor]
    """Named parts of it, before their coefficients."""


class AutogradObjective(Objective):
    """`code`, then `loss`; who fired in this batch is counted between them, so that `dead` counts it too."""

    fired_above: float = 0.0
    """A smaller activation does not keep a latent from counting as dead."""

    @abstractmethod
    def code(self, x: Tensor, fraction: float) -> Code:
        """Encodes `x` [rows, sum of widths]."""

    @abstractmethod
    def loss(self, x: Tensor, code: Code, dead: Tensor, fraction: float) -> Loss:
        """The loss; `dead` [dead latents] are those that have not fired for long."""

    def target(self, x: Tensor) -> Tensor:
        """What is to be reconstructed of `x`, [rows, d_out]."""
        return x

    def backward(self, x: Tensor, firing: Firing, fraction: float) -> BatchResult:
        self.zero_grad()
        with torch.enable_grad():
            code = self.code(x, fraction)
            counts = torch.count_nonzero(code.acts.detach() > self.fired_above, dim=0)
            firing.update(counts, len(x))
            found = self.loss(x, code, firing.dead(), fraction)
            found.total.backward()
        target = self.target(x)
        losses = {"loss": found.total.item(), **{name: part.item() for name, part in found.parts.items()}}
        l0 = torch.count_nonzero(code.acts.detach() > self.sae.fires_above).item() / len(x)
        return BatchResult(target, target - found.recon.detach().float(), l0, losses)
