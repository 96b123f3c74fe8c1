"""TopK with AuxK (Gao et al. 2024, arXiv:2406.04093)."""

import torch
from torch import Tensor

from shared.active_configs import ActiveConfig
from trainers.codes import SparseCodes
from trainers.row_norm import normalised
from trainers.sae import SparseAutoencoder
from trainers.selection import largest_pre_acts
from trainers.sparse_objective import Batch, Main, SparseObjective

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

    def codes(self, x: Tensor) -> SparseCodes:
        rows = normalised(x, self.normalize)[0]
        centred = rows - self.b_dec if self.subtracts_b_dec else rows
        top_acts, top_indices = largest_pre_acts(centred, self.W_enc, self.b_enc, self.k)
        return SparseCodes.of_largest(top_acts.relu(), top_indices, self.num_latents)

    def movable(self, norms: Tensor) -> Tensor:
        return torch.full_like(norms, norms.mean().item())

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, k={self.k}"


class TopKObjective(SparseObjective):
    """loss = mean (y - recon)^2 / mean (y - mean y)^2 + alpha auxk."""

    sae: TopK
    adam_eps = ADAM_EPS
    never_waits = True

    def new_sae(self, config: ActiveConfig, widths: tuple[int, ...]) -> TopK:
        (d_in,) = widths
        return TopK(d_in, config.num_latents, config.active)

    def backward_main(self, batch: Batch) -> Main:
        top_acts, top_indices = largest_pre_acts(batch.seen, self.sae.W_enc, self.sae.b_enc, batch.active)
        codes = SparseCodes.of_largest(top_acts.relu_(), top_indices, self.sae.num_latents)
        error = self.error_of(batch, codes)
        self.backward_recon(codes, batch, self.mse_gradient(error))
        mse = self.mse(error)
        return Main(codes, error, {"loss": mse, "mse": mse})
