"""Crosscoders (Lindsey et al. 2024, "Sparse Crosscoders for Cross-Layer Features and Model Diffing"): one code for the
same token at several hookpoints, its sources, whose activations lie side by side in a row.
"""

from itertools import accumulate, pairwise
from typing import Self

import torch
from torch import Tensor

from shared.active_configs import ActiveConfig
from shared.coder_configs import CrosscoderConfig
from shared.trainer_config import TrainerConfig
from trainers.objective import Objective
from trainers.relu import Relu
from trainers.relu_l1 import ReluL1Objective
from trainers.sae import SparseAutoencoder
from trainers.topk import TopK, TopKObjective
from trainers.unit_norm import normalise_rows


class Crosscoder(SparseAutoencoder):
    """acts = activate(sum_s W_enc^s x^s + b_enc);  recon^s = acts W_dec^s + b_dec^s."""

    source_widths: tuple[int, ...]
    source_scales: tuple[float, ...]
    """What each source's rows were multiplied by in training: with it, sources compare."""

    def set_sources(self, widths: tuple[int, ...], scales: tuple[float, ...] = ()) -> None:
        """Says what a row is made of; without `scales`, of rows as they are."""
        assert sum(widths) == self.d_in == self.d_out, f"sources {widths} for {self.d_in} values"
        self.source_widths, self.source_scales = widths, scales or (1.0,) * len(widths)

    @property
    def sources(self) -> tuple[slice, ...]:
        """Where each source lies in a row."""
        return tuple(slice(*edges) for edges in pairwise((0, *accumulate(self.source_widths))))

    def decoder_norms(self) -> Tensor:
        """[num_latents, sources]: ||w_i^s||, in units of each source as it was scaled in training."""
        norms = [
            scale * torch.linalg.vector_norm(self.W_dec.detach()[:, source], dim=1)
            for source, scale in zip(self.sources, self.source_scales, strict=True)
        ]
        return torch.stack(norms, dim=1)

    def relative_norms(self) -> Tensor:
        """[num_latents, sources]: ||w_i^s|| / sum_t ||w_i^t||, 0 for a direction of zeros.

        Of two models' activations, that of the second is the ratio by which they are compared: near 0 the latent is
        the first model's own, near 1 the second's. L1 makes some look so that are in both (Minder et al. 2025,
        arXiv:2504.02922).
        """
        norms = self.decoder_norms()
        return norms / norms.sum(1, keepdim=True).clamp(min=torch.finfo(norms.dtype).tiny)

    def folded(self, in_scale: Tensor, out_scale: Tensor) -> Self:
        raw = super().folded(in_scale, out_scale)
        raw.source_scales = tuple(out_scale[source][0].item() for source in self.sources)
        return raw


class ReluCrosscoder(Crosscoder, Relu):
    """Lindsey et al.'s."""


class TopKCrosscoder(Crosscoder, TopK):
    """The k largest pre-activations of each row; a direction counts as a whole, over all sources."""


class ReluCrosscoderObjective(ReluL1Objective):
    """loss = E[ sum_s ||x^s - recon^s||^2 + lambda sum_i acts_i sum_s ||w_i^s|| ].

    The sum of norms, not the norm of all: a latent may be in few sources for less.
    """

    sae: ReluCrosscoder
    config: CrosscoderConfig

    def new_sae(self, config: TrainerConfig, widths: tuple[int, ...]) -> Relu:
        sae = ReluCrosscoder(sum(widths), config.num_latents)
        sae.set_sources(widths)
        return sae

    @property
    def sources(self) -> tuple[slice, ...]:
        return self.sae.sources

    @torch.no_grad()
    def draw_weights(self, generator: torch.Generator) -> None:
        """Random directions of one norm in each source, the same in both matrices."""
        self.sae.W_dec.normal_(generator=generator)
        for source in self.sources:
            normalise_rows(self.sae.W_dec[:, source])
        self.sae.W_dec.mul_(self.config.decoder_init_norm)
        self.sae.W_enc.copy_(self.sae.W_dec)


class TopKCrosscoderObjective(TopKObjective):
    """TopK's loss of whole rows, each direction of norm 1 as a whole."""

    sae: TopKCrosscoder
    config: CrosscoderConfig

    def new_sae(self, config: ActiveConfig, widths: tuple[int, ...]) -> TopK:
        sae = TopKCrosscoder(sum(widths), config.num_latents, config.active, subtracts_b_dec=False)
        sae.set_sources(widths)
        return sae

    @torch.no_grad()
    def start(self, rows: Tensor) -> None:
        """As TopK; b_enc is where subtracting b_dec would put it, since a crosscoder's encoder subtracts nothing."""
        super().start(rows)
        self.sae.b_enc.copy_(-(self.sae.W_enc @ self.sae.b_dec))


def crosscoder(config: CrosscoderConfig, widths: tuple[int, ...], generator: torch.Generator) -> Objective:
    """The objective of `config.activation`."""
    kind = TopKCrosscoderObjective if config.activation == "topk" else ReluCrosscoderObjective
    return kind(config, widths, generator)
