"""The sparse autoencoder itself, as it is used after training; how each architecture is trained stands in its own file.

Both weight matrices have one row for each latent: the encoder product is equally fast either way, and
the gradients of the latents that fired are then whole rows.
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn


class SparseAutoencoder(nn.Module, ABC):
    """acts = sparse(W_enc x + b_enc);  recon = acts W_dec + b_dec.

    W_enc and W_dec are [num_latents, d_in], float32.
    """

    def __init__(self, d_in: int, num_latents: int) -> None:
        super().__init__()
        self.d_in = d_in
        self.num_latents = num_latents
        self.W_enc = nn.Parameter(torch.zeros(num_latents, d_in))
        self.W_dec = nn.Parameter(torch.zeros(num_latents, d_in))
        self.b_enc = nn.Parameter(torch.zeros(num_latents))
        self.b_dec = nn.Parameter(torch.zeros(d_in))

    @abstractmethod
    def encode(self, x: Tensor) -> Tensor:
        """Activations [..., num_latents] of `x` [..., d_in], zeros written out."""

    def decode(self, acts: Tensor) -> Tensor:
        """Reconstruction [..., d_in] from activations [..., num_latents]."""
        return acts @ self.W_dec + self.b_dec

    def forward(self, x: Tensor) -> Tensor:
        """Reconstruction of `x`, [..., d_in]."""
        return self.decode(self.encode(x))

    def extra_repr(self) -> str:
        return f"d_in={self.d_in}, num_latents={self.num_latents}"
