"""ReLU with an L1 penalty weighted by decoder norms (Anthropic, April 2024: "Update on how we train SAEs").

Decoder norms are free, since the penalty counts them. The gradient is written out; once few latents fire, all but the
encoder product leaves out the zeros.
"""

import torch
from torch import Tensor

from shared.coder_configs import EitherConfig
from shared.penalty_configs import ReluL1Config
from shared.trainer_config import TrainerConfig
from trainers.codes import codes_of
from trainers.firing import Firing
from trainers.objective import BatchResult, Objective, gradient_of
from trainers.products import add_product, affine, operand
from trainers.relu import Relu
from trainers.schedules import warmup
from trainers.unit_norm import normalise_rows


class ReluL1Objective(Objective):
    """loss = E[ ||y - recon||^2 + lambda sum_i acts_i ||w_i|| ], lambda rising from 0 at the start.

    y is what is reconstructed: x itself, or a transcoder's target.
    """

    sae: Relu

    def __init__(
        self, config: ReluL1Config | EitherConfig, widths: tuple[int, ...], generator: torch.Generator
    ) -> None:
        super().__init__(self.new_sae(config, widths))
        self.config = config
        self.peak_lr = config.lr or 5e-5
        self.draw_weights(generator)

    def new_sae(self, config: TrainerConfig, widths: tuple[int, ...]) -> Relu:
        """The SAE, before it has weights."""
        (d_in,) = widths
        return Relu(d_in, config.num_latents)

    @property
    def sources(self) -> tuple[slice, ...]:
        """The parts of a direction whose norms the penalty adds up: the whole, but for crosscoders."""
        return (slice(None),)

    @torch.no_grad()
    def draw_weights(self, generator: torch.Generator) -> None:
        """Random directions of one norm, the same in both matrices."""
        assert isinstance(self.config, ReluL1Config)
        self.sae.W_dec.normal_(generator=generator)
        normalise_rows(self.sae.W_dec)
        self.sae.W_dec.mul_(self.config.decoder_init_norm)
        self.sae.W_enc.copy_(self.sae.W_dec)

    @torch.no_grad()
    def backward(self, x: Tensor, firing: Firing, fraction: float) -> BatchResult:
        sae, num_rows = self.sae, len(x)
        rows, target = self.split(x)
        l1_coefficient = self.config.l1_coefficient * warmup(fraction, self.config.l1_warmup_fraction)
        pre_acts = affine(sae.b_enc, rows, operand(sae.W_enc), out=rows.new_empty(num_rows, sae.num_latents))
        codes = codes_of(pre_acts.relu_())
        error = target - (codes.decode(sae.W_dec) + sae.b_dec)
        if sae.W_skip is not None:
            add_product(error, rows, sae.W_skip, alpha=-1)
        norms_of = [torch.linalg.vector_norm(sae.W_dec[:, source], dim=1) for source in self.sources]
        norms = torch.stack(norms_of).sum(0)
        mean_acts = codes.sum_by_latent(codes.values) / num_rows
        d_recon = error * (-2 / num_rows)

        gradient_of(sae.b_dec).copy_(d_recon.sum(0))
        if sae.W_skip is not None:
            add_product(gradient_of(sae.W_skip), rows.T, d_recon, beta=0.0)
        codes.add_product(gradient_of(sae.W_dec), codes.values, d_recon, beta=0.0)
        for source, norm in zip(self.sources, norms_of, strict=True):
            along = (l1_coefficient * mean_acts / norm.clamp(min=1e-12)).unsqueeze(1)
            gradient_of(sae.W_dec)[:, source].addcmul_(sae.W_dec[:, source], along)
        d_pre = codes.backward(sae.W_dec, d_recon)
        codes.add_to_fired(d_pre, l1_coefficient / num_rows * norms)
        gradient_of(sae.b_enc).copy_(codes.sum_by_latent(d_pre))
        codes.add_product(gradient_of(sae.W_enc), d_pre, rows, beta=0.0)

        counts = codes.times_above(0.0)
        firing.update(counts, num_rows)
        mse = error.square().sum().item() / num_rows
        l1 = (mean_acts * norms).sum().item()
        losses = {"loss": mse + l1_coefficient * l1, "mse": mse, "l1": l1}
        return BatchResult(target, error, counts.sum().item() / num_rows, losses)
