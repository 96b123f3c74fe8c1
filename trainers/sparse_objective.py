"""What losses have in common that let few latents be active: AuxK, unit directions, and gradients without the zeros.

B rows, D d_in or d_out, L latents, K active. Only the encoder product and the choice of active latents are dense; all
else, the gradients included, costs B K D.
"""

import math
from abc import abstractmethod
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from shared.active_configs import ActiveConfig
from trainers.codes import SparseCodes
from trainers.firing import Firing
from trainers.geometric_median import geometric_median
from trainers.gpu_graph import Replay
from trainers.objective import BatchResult, Objective, gradient_of
from trainers.products import add_product, product
from trainers.sae import SparseAutoencoder
from trainers.schedules import annealed
from trainers.selection import largest_pre_acts
from trainers.unit_norm import normalise_rows, project_gradient

FIRED_ABOVE = 1e-3
"""A smaller activation does not keep a latent from counting as dead."""


class Batch(NamedTuple):
    """The rows of a step."""

    rows: Tensor
    """[B, d_in]: what is encoded."""
    seen: Tensor
    """[B, d_in]: what W_enc is applied to, `rows` or `rows` - b_dec."""
    target: Tensor
    """[B, d_out]: what is to be reconstructed."""
    centred: Tensor
    """[B, d_out]: what is to be reconstructed, - b_dec."""
    active: int
    """Latents that are to be active on each row."""


class Main(NamedTuple):
    """The loss without AuxK; its gradient is written already."""

    codes: SparseCodes
    """Who is active."""
    error: Tensor
    """[B, d_out]: what these leave over."""
    losses: dict[str, Tensor]
    """`loss`, and its parts: a float64 each."""


class SparseObjective(Objective):
    """loss = main + alpha auxk, where `main` compares squared errors with mean (y - mean y)^2, measured once.

    y is what is reconstructed: x itself, or a transcoder's target. auxk = mean (e - aux)^2 / mean (e - mean e)^2 with
    the error e = y - recon as a constant, and aux the reconstruction, without bias, by the largest `auxk`
    pre-activations among dead latents.
    """

    mse_scale: Tensor
    config: ActiveConfig
    never_waits: ClassVar[bool] = False
    """`backward_main` does the same kernels whatever the numbers, so that a GPU can replay it."""

    def __init__(self, config: ActiveConfig, widths: tuple[int, ...], generator: torch.Generator) -> None:
        super().__init__(self.new_sae(config, widths))
        self.config = config
        self.replay: Replay[tuple[Batch, Main]] = Replay()
        self.auxk = config.auxk or nearest_power_of_two(self.sae.d_out / 2)
        self.auxk_alpha = config.auxk_alpha
        self.peak_lr = config.lr or 2e-4 / math.sqrt(config.num_latents / 2**14)
        self.register_buffer("mse_scale", torch.ones((), dtype=torch.float32))
        self.draw_weights(generator)

    @abstractmethod
    def new_sae(self, config: ActiveConfig, widths: tuple[int, ...]) -> SparseAutoencoder:
        """The SAE, before it has weights."""

    @abstractmethod
    def backward_main(self, batch: Batch) -> Main:
        """Chooses who is active and writes the gradient of the loss without AuxK, adding to b_dec's and W_skip's."""

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
        active = active_now(self.config, self.split(x)[0], fraction)
        if x.is_cuda and self.never_waits and active == self.config.active:
            batch, main = self.replay(lambda rows: self._main(rows, active), x, active)
        else:
            batch, main = self._main(x, active)
        codes, error, losses = main.codes, main.error, dict(main.losses)
        firing.update(codes.times_above(FIRED_ABOVE), len(x))
        auxk_loss = losses["loss"].new_zeros(())
        if self.auxk_alpha:
            auxk_loss = self._backward_auxk(batch, error, firing.dead())
        losses |= {"loss": losses["loss"] + self.auxk_alpha * auxk_loss, "auxk": auxk_loss}
        l0 = torch.count_nonzero(codes.values).double() / len(x)
        if x.is_cuda:
            return BatchResult(batch.target, error, l0, losses)
        return BatchResult(batch.target, error, l0.item(), {name: loss.item() for name, loss in losses.items()})

    def _main(self, x: Tensor, active: int) -> tuple[Batch, Main]:
        """The loss without AuxK, its gradient written."""
        sae = self.sae
        rows, target = self.split(x)
        centred = target - sae.b_dec
        batch = Batch(rows, centred if sae.subtracts_b_dec else rows, target, centred, active)
        for parameter in (sae.b_dec, sae.W_skip):
            if parameter is not None:
                gradient_of(parameter).zero_()
        return batch, self.backward_main(batch)

    def constrain_gradients(self) -> None:
        assert self.sae.W_dec.grad is not None
        project_gradient(self.sae.W_dec.grad, self.sae.W_dec.detach())

    @torch.no_grad()
    def constrain_weights(self) -> None:
        normalise_rows(self.sae.W_dec)

    def error_of(self, batch: Batch, codes: SparseCodes) -> Tensor:
        """[B, d_out]: what the reconstruction by `codes` leaves over."""
        error = batch.centred - codes.decode(self.sae.W_dec)
        if self.sae.W_skip is not None:
            add_product(error, batch.rows, self.sae.W_skip, alpha=-1)
        return error

    def mse(self, error: Tensor) -> Tensor:
        """In units of the variance of what is reconstructed; float64."""
        return (self.mse_scale * error.square().mean()).double()

    def mse_gradient(self, error: Tensor) -> Tensor:
        """Of `mse`, by the reconstruction."""
        return error * (-2 * self.mse_scale / error.numel())

    def backward_recon(self, codes: SparseCodes, batch: Batch, d_recon: Tensor, adds: bool = False) -> None:
        """Writes, or adds, the gradients of all parameters, given that of the reconstruction by `codes`, [B, d_out]."""
        self.backward_codes(codes, batch.seen, d_recon, adds=adds)
        gradient_of(self.sae.b_dec).add_(d_recon.sum(0))
        if self.sae.W_skip is not None:
            add_product(gradient_of(self.sae.W_skip), batch.rows.T, d_recon)

    def backward_codes(
        self, codes: SparseCodes, seen: Tensor, d_recon: Tensor, latents: slice = slice(None), adds: bool = False
    ) -> None:
        """As `backward_recon`, for `codes` of some latents; b_dec is reached through the encoder alone."""
        sae, beta = self.sae, float(adds)
        d_values = codes.backward(sae.W_dec[latents], d_recon)
        codes.add_product(gradient_of(sae.W_dec)[latents], codes.values, d_recon, beta)
        codes.add_product(gradient_of(sae.W_enc)[latents], d_values, seen, beta)
        d_pre = codes.sum_by_latent(d_values)
        gradient_of(sae.b_enc)[latents].mul_(beta).add_(d_pre)
        if sae.subtracts_b_dec:
            gradient_of(sae.b_dec).sub_(product(d_pre, sae.W_enc[latents]))

    def _backward_auxk(self, batch: Batch, error: Tensor, dead: Tensor) -> Tensor:
        """Adds the gradient of alpha auxk; gives auxk, 0 where nothing is dead or the error has no variance."""
        none = error.new_zeros((), dtype=torch.float64)
        if len(dead) == 0:
            return none
        variance = (error - error.mean(0)).square().mean()
        if variance == 0:
            return none
        sae = self.sae
        auxk = min(self.auxk, len(dead))
        aux_acts, aux_indices = largest_pre_acts(batch.seen, sae.W_enc[dead], sae.b_enc[dead], auxk)
        codes = SparseCodes.of_largest(aux_acts.relu_(), dead[aux_indices], sae.num_latents)
        miss = error - codes.decode(sae.W_dec)
        d_recon = miss * (-2 * self.auxk_alpha / (miss.numel() * variance))
        self.backward_codes(codes, batch.seen, d_recon, adds=True)
        return (miss.square().mean() / variance).double()


def active_now(config: ActiveConfig, x: Tensor, fraction: float) -> int:
    """How many latents of each row are active at `fraction` of the token budget, annealed as `config` says."""
    start = config.k_anneal_from or max(config.active, min(x.shape[1], config.num_latents))
    return round(annealed(fraction, config.k_anneal_fraction, start, config.active))


def nearest_power_of_two(number: float) -> int:
    """At least 1; nearest by ratio."""
    return 2 ** max(0, round(math.log2(number)))
