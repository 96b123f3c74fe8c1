"""Which latents fired, and when last, counted in tokens, so that trainers with different batch sizes compare."""

import torch
from torch import Tensor, nn


class Firing(nn.Module):
    """For each latent: tokens since it fired, and how often it fired lately.

    Frequencies come from the present window and the one before, so they cover one to two windows once there were two.
    """

    tokens_since_fired: Tensor
    fired: Tensor
    fired_before: Tensor
    window: Tensor

    def __init__(
        self, num_latents: int, dead_after_tokens: int, window_tokens: int, device: str | torch.device = "cpu"
    ) -> None:
        super().__init__()
        self.dead_after_tokens = dead_after_tokens
        self.window_tokens = window_tokens
        self._tokens_without_dead = 0
        """So many more tokens no latent can be dead; known without asking a GPU."""
        for name in ("tokens_since_fired", "fired", "fired_before"):
            self.register_buffer(name, torch.zeros(num_latents, dtype=torch.int64, device=device))
        self.register_buffer("window", torch.zeros(2, dtype=torch.int64))
        """Tokens in the present window and in the one before; on the CPU, so that no step waits for a GPU."""

    def update(self, counts: Tensor, num_tokens: int) -> None:
        """Takes in how often each latent fired in a batch, int64 [num_latents]."""
        if self.window[0] >= self.window_tokens:
            self._next_window()
        self._tokens_without_dead -= num_tokens
        self.tokens_since_fired.add_(num_tokens).masked_fill_(counts > 0, 0)
        self.fired += counts
        self.window[0] += num_tokens

    def dead(self) -> Tensor:
        """int64 [dead latents]: those that have not fired for `dead_after_tokens`."""
        if self._tokens_without_dead <= 0:
            self._tokens_without_dead = self.dead_after_tokens - int(self.tokens_since_fired.max())
        if self._tokens_without_dead > 0:
            return self.fired.new_empty(0)
        return (self.tokens_since_fired >= self.dead_after_tokens).nonzero().flatten()

    @property
    def dead_fraction(self) -> float:
        """Share of latents that are dead."""
        return len(self.dead()) / len(self.tokens_since_fired)

    def frequencies(self) -> Tensor:
        """Share of tokens on which each latent fired, float64 [num_latents]."""
        return (self.fired + self.fired_before).double() / max(1, int(self.window.sum()))

    def _next_window(self) -> None:
        self.fired_before.copy_(self.fired)
        self.fired.zero_()
        self.window.copy_(torch.stack([torch.zeros_like(self.window[0]), self.window[0]]))
