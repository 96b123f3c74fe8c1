"""Matryoshka SAEs (Bussmann et al. 2025, arXiv:2503.17547): the first latents alone reconstruct, too.

Groups of latents are nested: every loss is by the groups up to one. Each group is decoded once, and the reconstructions
add up; a group's gradient is the sum over all losses that it is part of.
"""

from itertools import accumulate, pairwise

import torch

from shared.active_configs import MatryoshkaConfig
from trainers.batch_topk import BatchTopKObjective
from trainers.objective import gradient_of
from trainers.sparse_objective import Batch, Main


class MatryoshkaObjective(BatchTopKObjective):
    """loss = sum_g mean (x - recon_g)^2 / mean (x - mean x)^2 + alpha auxk, where recon_g is by the first groups to g.

    Who is active is chosen of all latents, as BatchTopK does; auxk is of the error of all.
    """

    config: MatryoshkaConfig

    def __init__(self, config: MatryoshkaConfig, widths: tuple[int, ...], generator: torch.Generator) -> None:
        super().__init__(config, widths, generator)
        self.groups = tuple(slice(*edges) for edges in pairwise((0, *config.nested_widths)))
        self.weight = 1 / len(self.groups) if config.group_weighting == "mean" else 1.0

    def backward_main(self, batch: Batch) -> Main:
        sae, codes = self.sae, self.choose(batch)
        pieces = [codes.within(group.start, group.stop) for group in self.groups]
        recons = [piece.decode(sae.W_dec[group]) for piece, group in zip(pieces, self.groups, strict=True)]
        errors = list(accumulate(recons, torch.sub, initial=batch.centred))[1:]
        d_recon = torch.zeros_like(batch.centred)
        for piece, group, error in reversed(list(zip(pieces, self.groups, errors, strict=True))):
            d_recon.add_(self.mse_gradient(error), alpha=self.weight)
            self.backward_codes(piece, batch.seen, d_recon, group)
        gradient_of(sae.b_dec).add_(d_recon.sum(0))
        losses = [self.mse(error) for error in errors]
        parts = {f"mse_{group.stop}": loss for group, loss in zip(self.groups, losses, strict=True)}
        return Main(codes, errors[-1], {"loss": self.weight * torch.stack(losses).sum(), "mse": losses[-1], **parts})
