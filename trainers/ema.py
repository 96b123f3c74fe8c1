"""An exponential moving average of weights, bias-corrected (as openai/sparse_autoencoder has it)."""

import copy

import torch
from torch import Tensor, nn

from trainers.objective import Objective


class Ema(nn.Module):
    """Follows the parameters of an objective; what it holds are buffers, so a checkpoint has them."""

    num_updates: Tensor

    def __init__(self, objective: Objective, decay: float) -> None:
        super().__init__()
        self.decay = decay
        self.register_buffer("num_updates", torch.zeros((), dtype=torch.int64))
        for name, parameter in objective.named_parameters():
            self.register_buffer(_buffer(name), torch.zeros_like(parameter))

    @torch.no_grad()
    def update(self, objective: Objective) -> None:
        """Takes in the weights after a step."""
        self.num_updates += 1
        for name, parameter in objective.named_parameters():
            getattr(self, _buffer(name)).lerp_(parameter, 1 - self.decay)

    @torch.no_grad()
    def averaged(self, objective: Objective) -> Objective:
        """A copy of `objective` with the averaged weights, and its constraints kept."""
        twin = copy.deepcopy(objective)
        if int(self.num_updates) == 0:
            return twin
        correction = 1 - self.decay ** int(self.num_updates)
        for name, parameter in twin.named_parameters():
            parameter.copy_(getattr(self, _buffer(name)) / correction)
        twin.constrain_weights()
        return twin


def _buffer(parameter: str) -> str:
    return parameter.replace(".", "-")
