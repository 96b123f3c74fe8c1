"""What of a known dictionary an SAE has found: its directions against the true ones, its firing against theirs.

Reconstruction alone does not tell: the best explained variance can come from the worst dictionary. MCC, uniqueness and
firing scores are as SynthSAEBench has them (arXiv:2602.14687; sae_lens.synthetic.evals, equal in tests), so their
tables compare; MMCS and `recovered` are HoagyC's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from benchmarks.synthetic import Truth
from trainers.fvu import Sums
from trainers.latent_matching import nearest, one_to_one
from trainers.sae import SparseAutoencoder

RECOVERED_ABOVE = 0.9
HELD_OUT = 10**6
"""Draws from this number on are for measuring."""
PIECE_ROWS = 2000


class Directions(NamedTuple):
    """How near a decoder's directions are to the true ones."""

    mmcs: float
    """Mean over true features of the greatest cosine with any latent."""
    mmcs_latents: float
    """Mean over latents of the greatest cosine with any true feature."""
    recovered: float
    """Share of true features that have a latent with a cosine above 0.9."""
    mcc: float
    """Mean |cosine| of the pairs of the best one-to-one assignment."""
    uniqueness: float
    """Different true features that are some latent's nearest, over latents."""


class FiringScore(NamedTuple):
    """How well latents tell when their nearest true features fire: means over all latents, silent ones count 0."""

    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class Recovery:
    """All of it for one SAE."""

    directions: Directions
    firing: FiringScore
    fvu: float
    l0: float
    true_l0: float


def compare_directions(decoder: Tensor, truth: Tensor) -> Directions:
    """Decoder [num_latents, D] against true directions [num_features, D]."""
    of_latents = nearest(decoder, truth)
    of_features = nearest(truth, decoder)
    nearest_either = nearest(decoder, truth, either_sign=True).columns
    return Directions(
        mmcs=of_features.cosines.mean().item(),
        mmcs_latents=of_latents.cosines.mean().item(),
        recovered=(of_features.cosines > RECOVERED_ABOVE).double().mean().item(),
        mcc=one_to_one(decoder, truth, either_sign=True).cosines.mean().item(),
        uniqueness=len(nearest_either.unique()) / len(decoder),
    )


class FiringCounts:
    """Counts, batch by batch, of when latents and their nearest true features fire."""

    def __init__(self, decoder: Tensor, truth: Tensor) -> None:
        self.nearest = nearest(decoder, truth, either_sign=True).columns
        self.both, self.ours, self.theirs = torch.zeros(3, len(decoder), dtype=torch.int64)

    def add(self, acts: Tensor, true_acts: Tensor) -> None:
        """Activations [rows, num_latents] and the truth [rows, num_features] of the same rows."""
        fires, should = acts != 0, true_acts[:, self.nearest] > 0
        self.both += (fires & should).sum(0)
        self.ours += fires.sum(0)
        self.theirs += should.sum(0)

    def score(self) -> FiringScore:
        """Of all that was added."""
        precision = self.both / self.ours.clamp(min=1)
        recall = self.both / self.theirs.clamp(min=1)
        f1 = 2 * self.both / (self.ours + self.theirs).clamp(min=1)
        return FiringScore(*(score.mean().item() for score in (precision, recall, f1)))


def _left_to_latents(
    sae: SparseAutoencoder, inputs: Sequence[Truth], targets: Sequence[Truth], together: bool
) -> Tensor:
    """Directions [num_features, D] that latents can find: the targets', less what a skip makes of the inputs' own."""
    theirs, ours = (
        torch.cat([torch.from_numpy(truth.chains if together else truth.directions) for truth in truths], dim=1)
        for truths in (targets, inputs)
    )
    return theirs if sae.W_skip is None else theirs - ours @ sae.W_skip


@torch.no_grad()
def measure(
    sae: SparseAutoencoder, inputs: Sequence[Truth], targets: Sequence[Truth], num_rows: int, together: bool = False
) -> Recovery:
    """What an SAE for raw rows has found, over about `num_rows` rows that no trainer has seen.

    Args:
        inputs, targets: the truths of its hookpoints, of the same features; one and the same for an SAE.
        together: latents are held against features together with their ancestors (`Truth.chains`).
    """
    truth = _left_to_latents(sae, inputs, targets, together)
    counts, sums, true_active = FiringCounts(sae.W_dec, truth), Sums.none(truth.shape[1]), 0
    for number in range(HELD_OUT, HELD_OUT + -(-num_rows // PIECE_ROWS)):
        draws = [[truth.draw(number, PIECE_ROWS) for truth in truths] for truths in (inputs, targets)]
        x, y = (torch.from_numpy(np.concatenate([draw.x for draw in side], axis=1)) for side in draws)
        acts, true_acts = sae.encode(x), torch.from_numpy(draws[0][0].acts)
        acts = torch.where(acts > sae.fires_above, acts, 0.0)
        counts.add(acts, true_acts)
        sums += Sums.of(y, y - sae(x), torch.count_nonzero(acts).item() / len(x), {})
        true_active += int(torch.count_nonzero(true_acts))
    assert sums.fvu is not None and sums.l0 is not None, "no rows with variance"
    directions = compare_directions(sae.W_dec, truth)
    return Recovery(directions, counts.score(), sums.fvu, sums.l0, true_active / sums.rows)
