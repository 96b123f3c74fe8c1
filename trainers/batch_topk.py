"""BatchTopK (Bussmann, Leask and Nanda 2024, arXiv:2412.06410): k active latents on each row of a batch on average.

Which activations are among the largest depends on the batch; for use, every latent gets one threshold: the mean over
batches of the smallest activation that was kept. What comes out is a JumpReLU.
"""

import math

import torch
from torch import Tensor, nn

from shared.active_configs import ActiveConfig, BatchActiveConfig
from trainers.batch_selection import largest_of_batch
from trainers.codes import SparseCodes
from trainers.jumprelu import JumpReLU
from trainers.sparse_objective import Batch, Main, SparseObjective

PEAK_LR = 3e-4
WIDEST = 24_576
"""The widest SAE that was trained at that learning rate; beyond, it falls as 1 / sqrt(num_latents) (Gao et al.)."""
AUXK = 512


class BatchTopKObjective(SparseObjective):
    """loss = mean (x - recon)^2 / mean (x - mean x)^2 + alpha auxk, with the rows * k largest of ReLU(z) active.

    Both terms are shares of a variance, as TopK's are: so alpha weighs the same here. The paper states them as sums of
    squares. Adam takes out what is between them, as AuxK alone moves dead latents.
    """

    sae: JumpReLU
    config: BatchActiveConfig

    def __init__(self, config: BatchActiveConfig, widths: tuple[int, ...], generator: torch.Generator) -> None:
        super().__init__(config, widths, generator)
        self.auxk = config.auxk or AUXK
        self.peak_lr = config.lr or PEAK_LR * min(1.0, math.sqrt(WIDEST / config.num_latents))
        self.smallest_kept = RecentMean(config.threshold_decay)

    def new_sae(self, config: ActiveConfig, widths: tuple[int, ...]) -> JumpReLU:
        (d_in,) = widths
        return JumpReLU(d_in, config.num_latents, subtracts_b_dec=True)

    def backward_main(self, batch: Batch) -> Main:
        codes = self.choose(batch)
        error = self.error_of(batch, codes)
        self.backward_recon(codes, batch, self.mse_gradient(error))
        mse = self.mse(error)
        return Main(codes, error, {"loss": mse, "mse": mse})

    def choose(self, batch: Batch) -> SparseCodes:
        """The largest of the batch, of those above 0; the threshold follows."""
        sae, rows = self.sae, len(batch.seen)
        values, positions = largest_of_batch(batch.seen, sae.W_enc, sae.b_enc, rows * batch.active)
        if len(values):
            self.smallest_kept.add(values.min())
            sae.threshold.fill_(self.smallest_kept.mean)
        return SparseCodes.of_positions(values, positions, (rows, sae.num_latents))


class RecentMean(nn.Module):
    """The mean of numbers, each counting `decay` times as much as the next: sum / weight.

    Two float64 sums, so that those of data shards can be added. With decay 1 it is the mean of all.
    """

    sum: Tensor
    weight: Tensor

    def __init__(self, decay: float) -> None:
        super().__init__()
        self.decay = decay
        self.register_buffer("sum", torch.zeros((), dtype=torch.float64))
        self.register_buffer("weight", torch.zeros((), dtype=torch.float64))

    def add(self, number: Tensor) -> None:
        """Takes in the next."""
        self.sum.mul_(self.decay).add_(number.double())
        self.weight.mul_(self.decay).add_(1.0)

    @property
    def mean(self) -> float:
        """Of what was added; 0 before."""
        return (self.sum / self.weight.clamp(min=torch.finfo(torch.float64).tiny)).item()
