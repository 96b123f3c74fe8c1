"""How well an SAE does, as sums that merge: over batches, shards, processes. Summed in float64.

A value over shards equals the value over the whole: what is a ratio becomes one at the very end. B rows, D values of
what is reconstructed, L latents, x what is to be reconstructed, e = x - recon. docs/evaluation.md tells more.
"""

from dataclasses import dataclass, fields
from typing import Self

import torch
from torch import Tensor

from trainers.fvu import ROUNDING

DENSITY_EDGES = tuple(-8 + number / 4 for number in range(33))
"""Of the histogram: log10 of the share of rows on which a latent fires, from 1e-8 to 1."""


class Mergeable:
    """A dataclass of sums."""

    def __add__(self, other: Self) -> Self:
        """Over the rows of both."""
        return type(self)(**{one.name: self._merged(one.name, other) for one in fields(self)})  # type: ignore[arg-type]

    def _merged(self, name: str, other: Self) -> object:
        mine, others = getattr(self, name), getattr(other, name)
        return torch.maximum(mine, others) if name.endswith("_max") else mine + others


@dataclass(frozen=True)
class ReconstructionSums(Mergeable):
    """Sums over some rows of x and recon; tensors are float64 on the CPU."""

    rows: int
    x_sum: Tensor
    """[D]"""
    x_square: Tensor
    """[D]: sum x^2."""
    error_sum: Tensor
    """[D]"""
    error_square: Tensor
    """[D]: sum e^2."""
    recon_square: float
    """sum ||recon||^2."""
    overlap: float
    """sum <x, recon>."""
    ratio_rows: int
    """Rows with x other than zero, which the next three are over."""
    cosine: float
    """sum cos(x, recon)."""
    norm_ratio: float
    """sum ||recon|| / ||x||."""
    error_ratio: float
    """sum ||e||^2 / ||x||^2."""

    @classmethod
    def none(cls, d_out: int) -> "ReconstructionSums":
        """Of no rows."""
        return cls.of(torch.zeros(0, d_out), torch.zeros(0, d_out))

    @classmethod
    def of(cls, x: Tensor, recon: Tensor) -> "ReconstructionSums":
        """Of some rows, [B, D] both, any float dtype."""
        x, recon = x.double(), recon.double()
        error = x - recon
        x_norm, recon_norm = (torch.linalg.vector_norm(one, dim=1) for one in (x, recon))
        overlap, known = torch.linalg.vecdot(x, recon), x_norm > 0
        along = torch.where(recon_norm > 0, overlap / (x_norm * recon_norm), 0.0)
        squares = error.square()
        return cls(
            rows=len(x),
            x_sum=x.sum(0).cpu(),
            x_square=x.square().sum(0).cpu(),
            error_sum=error.sum(0).cpu(),
            error_square=squares.sum(0).cpu(),
            recon_square=recon_norm.square().sum().item(),
            overlap=overlap.sum().item(),
            ratio_rows=int(known.sum()),
            cosine=along[known].sum().item(),
            norm_ratio=(recon_norm / x_norm)[known].sum().item(),
            error_ratio=(squares.sum(1) / x_norm.square())[known].sum().item(),
        )

    @property
    def variance(self) -> Tensor:
        """[D]: sum (x - mean x)^2, about the mean of all rows; 0 where it is no more than rounding."""
        variance = self.x_square - self.x_sum.square() / max(1, self.rows)
        return torch.where(variance > ROUNDING * self.x_square, variance, 0.0)


@dataclass(frozen=True)
class LatentSums(Mergeable):
    """Sums over some rows of each latent's activation, [L] on the CPU."""

    rows: int
    fired: Tensor
    """int64: rows on which it fires; over all latents, the sum of L0."""
    acts_sum: Tensor
    """float64; over all latents, the sum of L1."""
    acts_square: Tensor
    """float64"""
    acts_max: Tensor
    """float64; 0 for a latent that never fired."""

    @classmethod
    def none(cls, num_latents: int) -> "LatentSums":
        """Of no rows."""
        return cls.of(torch.zeros(0, num_latents))

    @classmethod
    def of(cls, acts: Tensor, fires_above: float = 0.0) -> "LatentSums":
        """Of some rows' activations, [B, L], none below zero; what is above `fires_above` has fired."""
        largest = acts.amax(0) if len(acts) else acts.new_zeros(acts.shape[1])
        return cls(
            rows=len(acts),
            fired=(acts > fires_above).sum(0).cpu(),
            acts_sum=acts.sum(0, dtype=torch.float64).cpu(),
            acts_square=torch.linalg.vector_norm(acts, dim=0, dtype=torch.float64).square().cpu(),
            acts_max=largest.double().cpu(),
        )

    @property
    def density(self) -> Tensor:
        """float64 [L]: the share of rows on which each latent fires."""
        return self.fired.double() / max(1, self.rows)


@dataclass(frozen=True)
class Quality:
    """An SAE's numbers over some rows; None where a denominator is zero."""

    tokens: int
    """Rows, the window of every number here, `dead_fraction` included."""
    fvu: float | None
    """sum ||e||^2 / sum ||x - mean x||^2: 0 is perfect, 1 no better than the mean of all rows."""
    fvu_median_dimension: float | None
    """The median over values of a row, each with its own FVU."""
    fvu_worst_dimension: float | None
    mse: float | None
    """Mean of e^2 over rows and values."""
    normalised_mse: float | None
    """Mean over rows of ||e||^2 / ||x||^2, uncentred (OpenAI's)."""
    error_bias_fraction: float | None
    """Share of the squared error that one constant vector would take away."""
    cosine: float | None
    """Mean over rows of cos(x, recon)."""
    norm_ratio: float | None
    """Mean over rows of ||recon|| / ||x||."""
    shrinkage: float | None
    """sum ||recon||^2 / sum <x, recon>: below 1 the reconstruction is too short, 1 / shrinkage would scale it best."""
    l0: float | None
    """Mean number of latents that fire."""
    l1: float | None
    """Mean sum of activations, each times the norm of its decoder direction."""
    dead_fraction: float
    """Latents that did not fire on any of `tokens` rows."""
    dense_fraction_1_percent: float
    """Latents that fire on more than 1% of rows."""
    dense_fraction_10_percent: float
    """Latents that fire on more than 10% of rows."""


@dataclass(frozen=True)
class DensityHistogram:
    """Latents by log10 of the share of rows on which they fire."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]
    """One less than edges; what lies outside is in the outermost."""
    never: int
    """Latents that did not fire at all."""


def quality(recon: ReconstructionSums, latents: LatentSums, decoder_norms: Tensor) -> Quality:
    """The numbers that two sums over the same rows make; `decoder_norms` is [L], of one direction each."""
    assert recon.rows == latents.rows, f"{recon.rows} rows reconstructed, {latents.rows} encoded"
    rows, by_dimension = recon.rows, fvu_by_dimension(recon)
    known = by_dimension[by_dimension.isfinite()]
    error_square, density = recon.error_square.sum().item(), latents.density
    return Quality(
        tokens=rows,
        fvu=fvu(recon),
        fvu_median_dimension=known.median().item() if len(known) else None,
        fvu_worst_dimension=known.max().item() if len(known) else None,
        mse=_ratio(error_square, rows * len(recon.x_sum)),
        normalised_mse=_ratio(recon.error_ratio, recon.ratio_rows),
        error_bias_fraction=_ratio(recon.error_sum.square().sum().item(), rows * error_square),
        cosine=_ratio(recon.cosine, recon.ratio_rows),
        norm_ratio=_ratio(recon.norm_ratio, recon.ratio_rows),
        shrinkage=_ratio(recon.recon_square, recon.overlap) if recon.overlap > 0 else None,
        l0=_ratio(latents.fired.sum().item(), rows),
        l1=_ratio(torch.dot(latents.acts_sum, decoder_norms.double().cpu()).item(), rows),
        dead_fraction=_share(latents.fired == 0),
        dense_fraction_1_percent=_share(density > 0.01),
        dense_fraction_10_percent=_share(density > 0.1),
    )


def fvu(sums: ReconstructionSums, dimensions: slice = slice(None)) -> float | None:
    """Over some of the D values, such as those of one hookpoint; None without variance."""
    return _ratio(sums.error_square[dimensions].sum().item(), sums.variance[dimensions].sum().item())


def fvu_by_dimension(sums: ReconstructionSums) -> Tensor:
    """float64 [D]; nan where x does not vary."""
    return torch.where(sums.variance > 0, sums.error_square / sums.variance, torch.nan)


def density_histogram(latents: LatentSums) -> DensityHistogram:
    """Latents by how often they fire, with a place of their own for those that never do."""
    edges = torch.tensor(DENSITY_EDGES, dtype=torch.float64)
    density = latents.density[latents.fired > 0].log10().clamp(edges[0], edges[-1])
    places = torch.bucketize(density, edges, right=True).sub_(1).clamp_(max=len(edges) - 2)
    counts = torch.bincount(places, minlength=len(edges) - 1)
    return DensityHistogram(DENSITY_EDGES, tuple(counts.tolist()), int((latents.fired == 0).sum()))


def _ratio(above: float, below: float) -> float | None:
    return above / below if below else None


def _share(which: Tensor) -> float:
    return which.double().mean().item()
