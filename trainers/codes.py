"""A batch's activations and every product that training needs with them, once with the zeros written out, once without.

B rows, L latents, D values of a row, N activations above zero. A sparse product costs N D instead of B L D, but more
per activation: on one core with AVX-512 the two are equal where about one latent in fourteen fires (d_in 256, 8192
latents, 2026-11). The gradients of encoder and decoder share one pattern, so latents are sorted once. All sums run in
a fixed order.
"""

import warnings
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from trainers import gpu_kernels, products

SPARSE_BELOW = 1 / 16
"""Share of activations above zero below which leaving out the zeros is faster."""


class DenseCodes:
    """Activations [B, L] as they are; `values` in what follows have that shape too."""

    def __init__(self, acts: Tensor) -> None:
        self.values = acts
        self.fired = torch.sign(acts)

    def decode(self, W_dec: Tensor) -> Tensor:
        """[B, D]: acts W_dec."""
        return products.product(self.values, W_dec)

    def backward(self, W_dec: Tensor, d_recon: Tensor) -> Tensor:
        """The gradient of `values` by that of their reconstruction, [B, D]; zero where the latent is silent."""
        return products.product(d_recon, W_dec.T).mul_(self.fired)

    def add_to_fired(self, values: Tensor, per_latent: Tensor) -> None:
        """values[b, l] += per_latent[l] wherever the latent fired."""
        values.addcmul_(self.fired, per_latent)

    def add_product(self, target: Tensor, values: Tensor, rows: Tensor, beta: float = 1.0) -> None:
        """target[l] = beta target[l] + sum_b values[b, l] rows[b], for target [L, D] and rows [B, D]."""
        products.add_product(target, values.T, rows, beta)

    def sum_by_latent(self, values: Tensor) -> Tensor:
        """[L]: sum_b values[b, l]."""
        return values.sum(0)

    def times_above(self, threshold: float) -> Tensor:
        """int64 [L]: on how many rows each latent is above `threshold`, which is at least 0."""
        above = self.fired if threshold == 0 else (self.values > threshold).float()
        return above.sum(0).long()


class SparseCodes:
    """The activations that may be above zero, row by row; `values` [N] in what follows lie in that order.

    acts[b, latents[i]] = values[i] for i from starts[b] to starts[b + 1].
    """

    def __init__(self, values: Tensor, latents: Tensor, starts: Tensor, num_latents: int) -> None:
        """float [N], int32 [N], int32 [B + 1]."""
        self.values = values
        self.latents = latents
        self.starts = starts
        self.shape = (len(starts) - 1, num_latents)

    @classmethod
    def of_largest(cls, values: Tensor, indices: Tensor, num_latents: int) -> "SparseCodes":
        """From the k activations of each row and their latents, both [B, k]."""
        starts = torch.arange(0, indices.numel() + 1, indices.shape[1], dtype=torch.int32, device=indices.device)
        return cls(values.reshape(-1), indices.reshape(-1).to(torch.int32), starts, num_latents)

    @classmethod
    def of_dense(cls, acts: Tensor) -> "SparseCodes":
        """From activations [B, L], none below zero; the zeros are left out."""
        positions = positions_of(acts > 0)
        return cls.of_positions(acts.view(-1)[positions], positions, (acts.shape[0], acts.shape[1]))

    @classmethod
    def of_positions(cls, values: Tensor, positions: Tensor, shape: tuple[int, int]) -> "SparseCodes":
        """From activations [N] and where they stand in [B, L] flattened, int64 [N], rising."""
        rows, num_latents = shape
        row_of = torch.div(positions, num_latents, rounding_mode="floor")
        starts = torch.searchsorted(row_of, torch.arange(rows + 1, device=values.device)).to(torch.int32)
        return cls(values, (positions - row_of * num_latents).to(torch.int32), starts, num_latents)

    def within(self, start: int, stop: int) -> "SparseCodes":
        """Those of the latents from `start` to `stop`, counted from `start`."""
        chosen = (self.latents >= start) & (self.latents < stop)
        before = torch.zeros(len(chosen) + 1, dtype=torch.int32, device=chosen.device)
        torch.cumsum(chosen, 0, out=before[1:])
        return SparseCodes(self.values[chosen], self.latents[chosen] - start, before[self.starts], stop - start)

    def decode(self, W_dec: Tensor) -> Tensor:
        """As `DenseCodes.decode`; a bag of rows is half the cost of torch's sparse product here."""
        if gpu_kernels.runs_on(W_dec):
            out = W_dec.new_empty(self.shape[0], W_dec.shape[1])
            return gpu_kernels.sum_of_rows(self.values, self.latents, self.starts, W_dec, out)
        return embedding_bag(self.latents, W_dec, self.starts[:-1], per_sample_weights=self.values, mode="sum")

    def backward(self, W_dec: Tensor, d_recon: Tensor) -> Tensor:
        """As `DenseCodes.backward`: <d_recon[b], W_dec[l]> for the N activations alone."""
        if gpu_kernels.runs_on(W_dec):
            return gpu_kernels.dots(d_recon, W_dec, self.latents, self.starts) * (self.values > 0)
        products = torch.sparse.sampled_addmm(self._by_row(self.values), d_recon, W_dec.T, beta=0.0)
        return products.values() * (self.values > 0)

    def add_to_fired(self, values: Tensor, per_latent: Tensor) -> None:
        """As `DenseCodes.add_to_fired`."""
        values.addcmul_(per_latent[self.latents], torch.sign(self.values))

    def add_product(self, target: Tensor, values: Tensor, rows: Tensor, beta: float = 1.0) -> None:
        """As `DenseCodes.add_product`."""
        starts, row_of, order = self._by_latent
        if gpu_kernels.runs_on(target):
            gpu_kernels.sum_of_rows(values[order], row_of, starts, rows, target, beta)
            return
        matrix = _csr(starts, row_of, values[order], (self.shape[1], self.shape[0]))
        torch.addmm(target, matrix, rows, beta=beta, out=target)

    def sum_by_latent(self, values: Tensor) -> Tensor:
        """As `DenseCodes.sum_by_latent`."""
        if gpu_kernels.runs_on(values):
            sums, ones = values.new_zeros(self.shape[1], 1), values.new_ones(self.shape[0], 1)
            self.add_product(sums, values, ones)
            return sums.view(-1)
        return values.new_zeros(self.shape[1]).index_add_(0, self.latents, values)

    def times_above(self, threshold: float) -> Tensor:
        """As `DenseCodes.times_above`."""
        above = (self.values > threshold).long()
        return above.new_zeros(self.shape[1]).index_add_(0, self.latents, above)

    def _by_row(self, values: Tensor) -> Tensor:
        return _csr(self.starts, self.latents, values, self.shape)

    @cached_property
    def _by_latent(self) -> tuple[Tensor, Tensor, Tensor]:
        """The pattern sorted by latent: int32 starts [L + 1], int32 rows [N], and where each of the N was."""
        rows, num_latents = self.shape
        order = _stable_order(self.latents, num_latents)
        numbers = torch.arange(max(rows, num_latents) + 1, dtype=torch.int32, device=order.device)
        row_of = torch.repeat_interleave(numbers[:rows], self.starts.diff(), output_size=len(order))
        starts = torch.searchsorted(self.latents[order], numbers[: num_latents + 1], out_int32=True)
        return starts, row_of[order], order


Codes = DenseCodes | SparseCodes


def codes_of(acts: Tensor) -> Codes:
    """The faster of the two for activations [B, L], none below zero; decided by the activations alone."""
    fired = torch.count_nonzero(acts).item()
    return SparseCodes.of_dense(acts) if fired < SPARSE_BELOW * acts.numel() else DenseCodes(acts)


def _csr(starts: Tensor, columns: Tensor, values: Tensor, shape: tuple[int, int]) -> Tensor:
    return torch.sparse_csr_tensor(starts, columns, values, shape, check_invariants=False)


def positions_of(mask: Tensor) -> Tensor:
    """int64, rising: where the flattened `mask` is true; numpy finds them ten times as fast as torch on a CPU."""
    if mask.is_cuda:
        return mask.view(-1).nonzero().flatten()
    return torch.from_numpy(np.flatnonzero(mask.numpy()))


def _stable_order(latents: Tensor, num_latents: int) -> Tensor:
    """Positions of `latents` by value; numpy sorts 16-bit integers by radix, five times as fast."""
    if not latents.is_cuda and num_latents <= 2**16:
        return torch.from_numpy(np.argsort(latents.numpy().astype(np.uint16), kind="stable"))
    return torch.sort(latents, stable=True).indices


def _use_up_beta_warning() -> None:
    """torch warns once in a process that CSR is in beta; the calls used here are checked by tests."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _csr(torch.tensor([0, 0]), torch.empty(0, dtype=torch.int64), torch.empty(0), (1, 1))


_use_up_beta_warning()
