"""Transcoders: one hookpoint's activations from another's, with or without a linear map of the input beside the code.

As sparsify has them: nothing is subtracted from the input, encoder and decoder share nothing, and decoder norms are
free. Gemma Scope's (arXiv:2408.05147, appendix B) agree in the first two.
"""

import math

import torch
from torch import Tensor

from shared.active_configs import ActiveConfig
from shared.coder_configs import TranscoderConfig
from shared.trainer_config import TrainerConfig
from trainers.objective import Objective
from trainers.relu import Relu
from trainers.relu_l1 import ReluL1Objective
from trainers.topk import TopK, TopKObjective


class TranscoderStart(Objective):
    """W_dec = 0 and b_dec = mean y, so that the start predicts the mean; b_enc = -W_enc mean x; W_skip = 0.

    b_enc centres the pre-activations: with it an encoder needs no b_dec to subtract.
    """

    config: TranscoderConfig

    @torch.no_grad()
    def draw_weights(self, generator: torch.Generator) -> None:
        """The encoder as `nn.Linear` starts; all else is zero."""
        if self.config.architecture == "skip_transcoder":
            self.sae.add_skip()
        bound = 1 / math.sqrt(self.sae.d_in)
        self.sae.W_enc.uniform_(-bound, bound, generator=generator)

    @torch.no_grad()
    def start(self, rows: Tensor) -> None:
        super().start(rows)
        x, target = self.split(rows)
        self.sae.b_enc.copy_(-(self.sae.W_enc @ x.mean(0)))
        self.sae.b_dec.copy_(target.mean(0))


class TopKTranscoderObjective(TranscoderStart, TopKObjective):
    """TopK's loss of the target; no direction is held at norm 1."""

    config: TranscoderConfig

    def new_sae(self, config: ActiveConfig, widths: tuple[int, ...]) -> TopK:
        d_in, d_out = widths
        return TopK(d_in, config.num_latents, config.active, d_out, subtracts_b_dec=False)

    def constrain_gradients(self) -> None:
        pass

    def constrain_weights(self) -> None:
        pass


class ReluTranscoderObjective(TranscoderStart, ReluL1Objective):
    """ReLU and L1's loss of the target; decoder norms are free, since the penalty counts them."""

    config: TranscoderConfig

    def new_sae(self, config: TrainerConfig, widths: tuple[int, ...]) -> Relu:
        d_in, d_out = widths
        return Relu(d_in, config.num_latents, d_out)


def transcoder(config: TranscoderConfig, widths: tuple[int, ...], generator: torch.Generator) -> Objective:
    """The objective of `config.activation`."""
    kind = TopKTranscoderObjective if config.activation == "topk" else ReluTranscoderObjective
    return kind(config, widths, generator)
