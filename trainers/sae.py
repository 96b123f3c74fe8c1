"""The sparse autoencoder itself, as it is used after training; how each architecture is trained stands in its own file.

Both weight matrices have one row for each latent: the encoder product is equally fast either way, and
the gradients of the latents that fired are then whole rows.
"""

import copy
from abc import ABC, abstractmethod
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from trainers.codes import SparseCodes
from trainers.row_norm import normalised


class SparseAutoencoder(nn.Module, ABC):
    """acts = activate(W_enc x + b_enc), or of x - b_dec;  recon = acts W_dec + b_dec.

    W_enc is [num_latents, d_in], W_dec [num_latents, d_out], float32. d_out differs from d_in for transcoders alone,
    and they alone may have x W_skip in the reconstruction, [d_in, d_out].
    """

    is_homogeneous: ClassVar[bool] = True
    """Twice the row and twice what `in_act_units` names give twice the activations, so these may be in any units."""
    fires_above: ClassVar[float] = 0.0
    """An activation above this counts as active: in L0, in how often a latent fires."""
    W_skip: nn.Parameter | None
    in_act_units: ClassVar[tuple[str, ...]] = ("b_enc",)
    """Tensors with one number for each latent, in units of its activation."""

    def __init__(self, d_in: int, num_latents: int, d_out: int | None = None, subtracts_b_dec: bool = False) -> None:
        super().__init__()
        self.d_in, self.num_latents = d_in, num_latents
        self.d_out = d_in if d_out is None else d_out
        self.subtracts_b_dec = subtracts_b_dec
        """The encoder sees x - b_dec."""
        self.normalize = "none"
        """How each row is normalised before all else: none, token_norm or layer_norm (`trainers.row_norm`)."""
        assert not subtracts_b_dec or self.d_out == d_in, "b_dec is in the space of the targets"
        self.W_enc = nn.Parameter(torch.zeros(num_latents, d_in))
        self.W_dec = nn.Parameter(torch.zeros(num_latents, self.d_out))
        self.b_enc = nn.Parameter(torch.zeros(num_latents))
        self.b_dec = nn.Parameter(torch.zeros(self.d_out))
        self.register_parameter("W_skip", None)

    def add_skip(self) -> None:
        """Adds x W_skip, [d_in, d_out], to what is reconstructed; zero at first."""
        self.W_skip = nn.Parameter(torch.zeros(self.d_in, self.d_out))

    def pre_acts(self, x: Tensor) -> Tensor:
        """[..., num_latents] of `x` [..., d_in], normalised already."""
        centred = x - self.b_dec if self.subtracts_b_dec else x
        return centred @ self.W_enc.T + self.b_enc

    @abstractmethod
    def activate(self, pre_acts: Tensor) -> Tensor:
        """Activations of pre-activations, both [..., num_latents], zeros written out."""

    def encode_normalised(self, x: Tensor) -> Tensor:
        """As `encode`, of rows that are normalised already."""
        return self.activate(self.pre_acts(x))

    def reconstruct(self, x: Tensor, acts: Tensor) -> Tensor:
        """The reconstruction, [..., d_out], of rows that are normalised already."""
        recon = self.decode(acts)
        return recon if self.W_skip is None else recon + x @ self.W_skip

    def encode(self, x: Tensor) -> Tensor:
        """Activations [..., num_latents] of `x` [..., d_in], zeros written out."""
        return self.encode_normalised(normalised(x, self.normalize)[0])

    def codes(self, x: Tensor) -> SparseCodes:
        """The activations of `x` [rows, d_in] that count as active, for less than `encode` where that can be had."""
        acts = self.encode(x)
        return SparseCodes.of_dense(torch.where(acts > self.fires_above, acts, 0))

    def decode(self, acts: Tensor) -> Tensor:
        """[..., d_out] from activations [..., num_latents]; still normalised, where each row was."""
        return acts @ self.W_dec + self.b_dec

    def forward(self, x: Tensor) -> Tensor:
        """Reconstruction, [..., d_out], of `x` [..., d_in]."""
        return self.acts_and_recon(x)[1]

    def acts_and_recon(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What `encode` and `forward` give of `x` [..., d_in], for the work of one."""
        rows, norm = normalised(x, self.normalize)
        acts = self.encode_normalised(rows)
        return acts, norm.undo(self.reconstruct(rows, acts))

    def reconstruct_raw(self, x: Tensor, acts: Tensor) -> Tensor:
        """As `forward`, with `acts` [..., num_latents] for the activations of `x`: its own, or others."""
        rows, norm = normalised(x, self.normalize)
        return norm.undo(self.reconstruct(rows, acts))

    def reconstruct_raw_sparse(self, x: Tensor, codes: SparseCodes) -> Tensor:
        """As `reconstruct_raw`, of `x` [rows, d_in], without the zeros."""
        rows, norm = normalised(x, self.normalize)
        recon = codes.decode(self.W_dec).add_(self.b_dec)
        return norm.undo(recon if self.W_skip is None else recon.addmm_(rows, self.W_skip))

    def change_raw(self, x: Tensor, latents: Tensor, change: Tensor) -> Tensor:
        """What `reconstruct_raw` of raw rows `x` gains, [..., d_out], where some activations are others.

        Args:
            latents: int64 [n]; change: [..., n], what is added to the activation of each.
        """
        return (change @ self.W_dec[latents]) * normalised(x, self.normalize)[1].size

    @torch.no_grad()
    def folded(self, in_scale: Tensor, out_scale: Tensor) -> Self:
        """A copy for raw rows of an SAE that was trained on rows times `in_scale` and targets times `out_scale`.

        Scales are [d_in] and [d_out]. Where activations may be in any units, directions are given norm 1, which puts
        the activations into units of the raw targets (Gemma Scope, arXiv:2408.05147, appendix A); else they stay.
        """
        raw = copy.deepcopy(self)
        raw.W_enc.mul_(in_scale)
        raw.W_dec.div_(out_scale)
        raw.b_dec.div_(out_scale)
        if raw.W_skip is not None:
            raw.W_skip.mul_(in_scale[:, None]).div_(out_scale)
        if raw.is_homogeneous:
            raw.rescale_to_unit_norm()
        return raw

    @torch.no_grad()
    def rescale_to_unit_norm(self) -> None:
        """Gives each decoder direction norm 1 and moves its norm into the encoder; reconstructions stay as they are.

        Where latents compete, only what all norms have in common moves. A direction of zeros stays.
        """
        norms = self.movable(torch.linalg.vector_norm(self.W_dec, dim=1))
        norms = torch.where(norms > 0, norms, 1)
        self.W_dec.div_(norms[:, None])
        self.W_enc.mul_(norms[:, None])
        for name in self.in_act_units:
            getattr(self, name).mul_(norms)

    def movable(self, norms: Tensor) -> Tensor:
        """Of the directions' norms, [num_latents], what can be moved into the encoder without changing who fires."""
        return norms

    def extra_repr(self) -> str:
        width = f"d_in={self.d_in}" if self.d_in == self.d_out else f"d_in={self.d_in}, d_out={self.d_out}"
        return f"{width}, num_latents={self.num_latents}"
