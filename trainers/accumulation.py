"""Gradients of several batches, averaged over their rows into the one of a single batch."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn


class Accumulation(nn.Module):
    """The sum of gradients since the last step, in buffers, so that checkpoints hold it; idle for one.

    Sums lie where the parameters lie; counts on the CPU, so that no step waits for a GPU.
    """

    count: Tensor
    rows: Tensor

    def __init__(self, module: nn.Module, batches: int) -> None:
        super().__init__()
        self.batches = batches
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))
        self.register_buffer("rows", torch.zeros((), dtype=torch.int64))
        if batches > 1:
            for index, parameter in enumerate(module.parameters()):
                self.register_buffer(f"sum{index}", torch.zeros_like(parameter))

    @torch.no_grad()
    def add(self, parameters: Iterable[nn.Parameter], rows: int) -> bool:
        """Takes in the gradients of a batch of so many rows; true when a step is due."""
        self.rows += rows
        if self.batches == 1:
            return True
        for index, parameter in enumerate(parameters):
            if parameter.grad is not None:
                getattr(self, f"sum{index}").add_(parameter.grad, alpha=rows)
        self.count += 1
        return int(self.count) == self.batches

    @torch.no_grad()
    def take(self, parameters: Iterable[nn.Parameter]) -> None:
        """Puts the mean over rows of what was added into `.grad`, and begins anew."""
        for index, parameter in enumerate(parameters if self.batches > 1 else ()):
            total = getattr(self, f"sum{index}")
            parameter.grad = torch.div(total, int(self.rows), out=parameter.grad)
            total.zero_()
        self.count.zero_()
        self.rows.zero_()

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits for a step."""
        return int(self.count) == 0
