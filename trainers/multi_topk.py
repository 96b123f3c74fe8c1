"""Multi-TopK (Gao et al. 2024, arXiv:2406.04093): TopK that reconstructs well with other numbers of latents, too."""

from trainers.codes import SparseCodes
from trainers.selection import largest_pre_acts, select_largest
from trainers.sparse_objective import Batch, Main
from trainers.topk import TopKObjective

WIDER = 4
WEIGHT = 1 / 8


class MultiTopKObjective(TopKObjective):
    """loss = L(k) + L(4k) / 8 + alpha auxk, where L(k) is TopK's with k active latents."""

    def backward_main(self, batch: Batch) -> Main:
        sae = self.sae
        wide_active = min(WIDER * batch.active, sae.num_latents)
        wide_acts, wide_indices = largest_pre_acts(batch.seen, sae.W_enc, sae.b_enc, wide_active)
        top_acts, places = select_largest(wide_acts.relu_(), batch.active)
        codes = SparseCodes.of_largest(top_acts, wide_indices.gather(1, places), sae.num_latents)
        wide = SparseCodes.of_largest(wide_acts, wide_indices, sae.num_latents)
        error, wide_error = self.error_of(batch, codes), self.error_of(batch, wide)
        self.backward_recon(codes, batch, self.mse_gradient(error))
        self.backward_recon(wide, batch, WEIGHT * self.mse_gradient(wide_error), adds=True)
        mse, wide_mse = self.mse(error), self.mse(wide_error)
        return Main(codes, error, {"loss": mse + WEIGHT * wide_mse, "mse": mse, "wide_mse": wide_mse})
