"""TopK with AuxK (Gao et al. 2024, arXiv:2406.04093).

B rows, D d_in or d_out, L latents, K active. Only the encoder product and the choice of K latents are dense; all else,
the gradients included, costs B K D.
"""

import math

import torch
from torch import Tensor

from shared.trainer_config import ActiveConfig
from trainers.codes import SparseCodes
from trainers.firing import Firing
from trainers.geometric_median import geometric_median
from trainers.objective import BatchResult, Objective, gradient_of
from trainers.sae import SparseAutoencoder
from trainers.schedules import annealed
from trainers.selection import largest_pre_acts
from trainers.unit_norm import normalise_rows, project_gradient

FIRED_ABOVE = 1e-3
"""A smaller activation does not keep a latent from counting as dead."""
ADAM_EPS = 6.25e-10


class TopK(SparseAutoencoder):
    """acts = ReLU(TopK(W_enc (x - b_dec) + b_enc));  recon = acts W_dec + b_dec."""

    def __init__(
        self, d_in: int, num_latents: int, k: int, d_out: int | None = None, subtracts_b_dec: bool = True
    ) -> None:
        super().__init__(d_in, num_latents, d_out, subtracts_b_dec)
        self.k = k

    def activate(self, pre_acts: Tensor) -> Tensor:
        top_acts, top_indices = torch.topk(pre_acts, self.k, dim=-1, sorted=False)
        return torch.zeros_like(pre_acts).scatter(-1, top_indices, top_acts.relu())

    def movable(self, norms: Tensor) -> Tensor:
        return torch.full_like(norms, norms.mean().item())

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, k={self.k}"


class TopKObjective(Objective):
    """loss = mean (y - recon)^2 / mean (y - mean y)^2 + alpha auxk, the first denominator measured once.

    y is what is reconstructed: x itself, or a transcoder's target. auxk = mean (e - aux)^2 / mean (e - mean e)^2 with
    the error e = y - recon as a constant, and aux the reconstruction, without bias, by the largest `auxk`
    pre-activations among dead latents.
    """

    sae: TopK
    mse_scale: Tensor
    adam_eps = ADAM_EPS

    def __init__(self, config: ActiveConfig, widths: tuple[int, ...], generator: torch.Generator) -> None:
        super().__init__(self.new_sae(config, widths))
        self.config = config
        self.auxk = config.auxk or nearest_power_of_two(self.sae.d_out / 2)
        self.auxk_alpha = config.auxk_alpha
        self.peak_lr = config.lr or 2e-4 / math.sqrt(config.num_latents / 2**14)
        self.register_buffer("mse_scale", torch.ones((), dtype=torch.float32))
        self.draw_weights(generator)

    def new_sae(self, config: ActiveConfig, widths: tuple[int, ...]) -> TopK:
        """The SAE, before it has weights."""
        (d_in,) = widths
        return TopK(d_in, config.num_latents, config.active)

    @torch.no_grad()
    def draw_weights(self, generator: torch.Generator) -> None:
        """The encoder as `nn.Linear` starts, and the decoder as its transpose with directions of norm 1."""
        bound = 1 / math.sqrt(self.sae.d_in)
        self.sae.W_enc.uniform_(-bound, bound, generator=generator)
        self.sae.W_dec.copy_(self.sae.W_enc)
        normalise_rows(self.sae.W_dec)

    @torch.no_grad()
    def start(self, rows: Tensor) -> None:
        target = self.split(rows)[1]
        self.sae.b_dec.copy_(geometric_median(target))
        variance = (target - target.mean(0)).square().mean(dtype=torch.float64)
        self.mse_scale.copy_(1 / variance.clamp(min=torch.finfo(torch.float32).tiny))

    @torch.no_grad()
    def backward(self, x: Tensor, firing: Firing, fraction: float) -> BatchResult:
        sae = self.sae
        rows, target = self.split(x)
        centred = target - sae.b_dec
        seen = centred if sae.subtracts_b_dec else rows
        top_acts, top_indices = largest_pre_acts(seen, sae.W_enc, sae.b_enc, active_now(self.config, rows, fraction))
        codes = SparseCodes.of_largest(top_acts.relu_(), top_indices, sae.num_latents)
        error = centred - codes.decode(sae.W_dec)
        if sae.W_skip is not None:
            error.addmm_(rows, sae.W_skip, alpha=-1)
        d_recon = error * (-2 * self.mse_scale / error.numel())
        self._backward_codes(codes, seen, d_recon)
        if sae.W_skip is not None:
            torch.mm(rows.T, d_recon, out=gradient_of(sae.W_skip))
        firing.update(codes.times_above(FIRED_ABOVE), len(x))
        mse_loss = (self.mse_scale * error.square().mean()).item()
        auxk_loss = self._backward_auxk(seen, error, firing.dead()) if self.auxk_alpha else 0.0
        l0 = torch.count_nonzero(top_acts).item() / len(x)
        losses = {"loss": mse_loss + self.auxk_alpha * auxk_loss, "mse": mse_loss, "auxk": auxk_loss}
        return BatchResult(target, error, l0, losses)

    def constrain_gradients(self) -> None:
        assert self.sae.W_dec.grad is not None
        project_gradient(self.sae.W_dec.grad, self.sae.W_dec.detach())

    @torch.no_grad()
    def constrain_weights(self) -> None:
        normalise_rows(self.sae.W_dec)

    def _backward_auxk(self, seen: Tensor, error: Tensor, dead: Tensor) -> float:
        """Adds the gradient of alpha auxk; gives auxk, 0 where nothing is dead or the error has no variance."""
        if len(dead) == 0:
            return 0.0
        variance = (error - error.mean(0)).square().mean()
        if variance == 0:
            return 0.0
        sae = self.sae
        auxk = min(self.auxk, len(dead))
        aux_acts, aux_indices = largest_pre_acts(seen, sae.W_enc[dead], sae.b_enc[dead], auxk)
        codes = SparseCodes.of_largest(aux_acts.relu_(), dead[aux_indices], sae.num_latents)
        miss = error - codes.decode(sae.W_dec)
        d_recon = miss * (-2 * self.auxk_alpha / (miss.numel() * variance))
        self._backward_codes(codes, seen, d_recon, is_aux=True)
        return (miss.square().mean() / variance).item()

    def _backward_codes(self, codes: SparseCodes, seen: Tensor, d_recon: Tensor, is_aux: bool = False) -> None:
        """The gradients by `codes` of what the encoder has `seen`, given that of their reconstruction, both [B, D].

        Those of aux are added to what is there, and reach b_dec through the encoder alone.
        """
        sae, beta = self.sae, float(is_aux)
        d_values = codes.backward(sae.W_dec, d_recon)
        codes.add_product(gradient_of(sae.W_dec), codes.values, d_recon, beta)
        codes.add_product(gradient_of(sae.W_enc), d_values, seen, beta)
        d_pre = codes.sum_by_latent(d_values)
        gradient_of(sae.b_enc).mul_(beta).add_(d_pre)
        d_bias = torch.zeros_like(sae.b_dec) if is_aux else d_recon.sum(0)
        gradient_of(sae.b_dec).mul_(beta).add_(d_bias - d_pre @ sae.W_enc if sae.subtracts_b_dec else d_bias)


def active_now(config: ActiveConfig, x: Tensor, fraction: float) -> int:
    """How many latents of each row are active at `fraction` of the token budget, annealed as `config` says."""
    start = config.k_anneal_from or max(config.active, min(x.shape[1], config.num_latents))
    return round(annealed(fraction, config.k_anneal_fraction, start, config.active))


def nearest_power_of_two(number: float) -> int:
    """At least 1; nearest by ratio."""
    return 2 ** max(0, round(math.log2(number)))
