"""ReLU with an L1 penalty weighted by decoder norms (Anthropic, April 2024: "Update on how we train SAEs").

Decoder norms are free, since the penalty counts them. The gradient is written out; once few latents fire, all but the
encoder product leaves out the zeros.
"""

import torch
from torch import Tensor

from shared.trainer_config import ReluL1Config
from trainers.codes import codes_of
from trainers.firing import Firing
from trainers.objective import BatchResult, Objective, gradient_of
from trainers.relu import Relu
from trainers.schedules import warmup
from trainers.unit_norm import normalise_rows


class ReluL1Objective(Objective):
    """loss = E[ ||x - recon||^2 + lambda sum_i acts_i ||w_i|| ], lambda rising from 0 at the start."""

    sae: Relu

    def __init__(self, config: ReluL1Config, widths: tuple[int, ...], generator: torch.Generator) -> None:
        (d_in,) = widths
        super().__init__(Relu(d_in, config.num_latents))
        self.l1_coefficient = config.l1_coefficient
        self.l1_warmup_fraction = config.l1_warmup_fraction
        self.peak_lr = config.lr or 5e-5
        with torch.no_grad():
            self.sae.W_dec.normal_(generator=generator)
            normalise_rows(self.sae.W_dec)
            self.sae.W_dec.mul_(config.decoder_init_norm)
            self.sae.W_enc.copy_(self.sae.W_dec)

    @torch.no_grad()
    def backward(self, x: Tensor, firing: Firing, fraction: float) -> BatchResult:
        sae, rows = self.sae, len(x)
        l1_coefficient = self.l1_coefficient * warmup(fraction, self.l1_warmup_fraction)
        codes = codes_of(torch.addmm(sae.b_enc, x, sae.W_enc.T).relu_())
        error = x - (codes.decode(sae.W_dec) + sae.b_dec)
        norms = torch.linalg.vector_norm(sae.W_dec, dim=1)
        mean_acts = codes.sum_by_latent(codes.values) / rows
        d_recon = error * (-2 / rows)

        gradient_of(sae.b_dec).copy_(d_recon.sum(0))
        codes.add_product(gradient_of(sae.W_dec), codes.values, d_recon, beta=0.0)
        gradient_of(sae.W_dec).addcmul_(sae.W_dec, (l1_coefficient * mean_acts / norms.clamp(min=1e-12)).unsqueeze(1))
        d_pre = codes.backward(sae.W_dec, d_recon)
        codes.add_to_fired(d_pre, l1_coefficient / rows * norms)
        gradient_of(sae.b_enc).copy_(codes.sum_by_latent(d_pre))
        codes.add_product(gradient_of(sae.W_enc), d_pre, x, beta=0.0)

        counts = codes.times_above(0.0)
        firing.update(counts, rows)
        mse = error.square().sum().item() / rows
        l1 = (mean_acts @ norms).item()
        losses = {"loss": mse + l1_coefficient * l1, "mse": mse, "l1": l1}
        return BatchResult(x, error, counts.sum().item() / rows, losses)
