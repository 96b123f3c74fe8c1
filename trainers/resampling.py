"""Latents that fell silent are made anew from rows that the SAE reconstructs badly (Bricken et al. 2023, appendix).

At given points of the token budget: latents that have not fired over a window before are silent; rows are drawn from
the batches that follow, with p proportional to loss^2, without replacement. That is done in passing: each row gets the
key log(u) / loss^2 with u uniform, and the largest keys stay (Efraimidis & Spirakis 2006), so no more rows are held
than latents are silent. u is a function of seed and batch number, so what was saved goes on as it would have.
"""

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from shared.penalty_configs import UnitNormConfig
from trainers.sae import SparseAutoencoder

ENCODER_SHARE = 0.2
"""Norm of a new latent's encoder row, as a share of the mean norm of those that fire."""
REWARM_FROM = 0.1
"""Where the learning rate begins again."""


class Renewal(NamedTuple):
    """What takes whose place."""

    latents: Tensor
    """int64 [n]"""
    rows: Tensor
    """[n, d_in]"""
    alive: Tensor
    """bool [num_latents]: those that fire."""


class Resampling(nn.Module):
    """Watches who fires, draws rows, says what is to be made anew; all that it knows stands in buffers."""

    silent: Tensor
    num_watched: Tensor
    num_done: Tensor
    num_batches: Tensor
    last_at: Tensor
    rows: Tensor
    keys: Tensor

    def __init__(self, config: UnitNormConfig, num_latents: int, d_in: int, seed: int) -> None:
        super().__init__()
        self.points = config.resample_at_fractions
        self.window = config.resample_window_fraction
        self.drawing = config.resample_rows_fraction
        self.rewarm = config.resample_rewarm_fraction
        self.seed = seed
        self.register_buffer("silent", torch.ones(num_latents, dtype=torch.bool))
        self.register_buffer("num_watched", torch.zeros((), dtype=torch.int64))
        """Batches since the window opened."""
        self.register_buffer("num_done", torch.zeros((), dtype=torch.int64))
        """Points that are past."""
        self.register_buffer("num_batches", torch.zeros((), dtype=torch.int64))
        """Batches that rows were drawn from."""
        self.register_buffer("last_at", torch.full((), -math.inf, dtype=torch.float64))
        """Fraction of the token budget at which latents were last made anew."""
        self.register_buffer("rows", torch.zeros(0, d_in))
        self.register_buffer("keys", torch.zeros(0, dtype=torch.float64))

    @property
    def next_point(self) -> float:
        """Fraction of the token budget; infinite after the last."""
        return next(iter(self.points[int(self.num_done) :]), math.inf)

    def watch(self, fired: Tensor, fraction: float) -> None:
        """Takes in who fired in the batch that began at `fraction`, bool [num_latents]."""
        if fraction >= self.next_point - self.window:
            self.silent &= ~fired
            self.num_watched += 1

    def is_drawing(self, fraction: float) -> bool:
        """Whether `offer` wants the batch that ended at `fraction`."""
        return fraction >= self.next_point and int(self.num_watched) > 0

    def offer(self, rows: Tensor, losses: Tensor) -> None:
        """Draws from a batch, [rows, d_in] and [rows]."""
        uniform = np.random.default_rng((self.seed, int(self.num_batches))).random(len(rows))
        self.num_batches += 1
        keys = torch.from_numpy(np.log1p(-uniform)).to(losses.device) / losses.double().square()
        known = keys.isfinite()
        all_rows, all_keys = torch.cat([self.rows, rows[known]]), torch.cat([self.keys, keys[known]])
        self.keys, best = torch.topk(all_keys, min(int(self.silent.sum()), len(all_keys)))
        self.rows = all_rows[best]

    def take(self, fraction: float) -> Renewal | None:
        """What is to be made anew after the batch that ended at `fraction`; None while more are to be offered."""
        if fraction < self.next_point + self.drawing:
            return None
        latents = self.silent.nonzero().flatten()[: len(self.rows)]
        renewal = Renewal(latents, self.rows[: len(latents)], ~self.silent)
        self.rows, self.keys, self.silent = self.rows[:0], self.keys[:0], torch.ones_like(self.silent)
        self.num_watched.zero_()
        self.num_done += 1
        self.last_at.fill_(fraction)
        return renewal

    def lr_factor(self, fraction: float) -> float:
        """From a tenth to 1 along a cosine after latents were made anew."""
        since = fraction - self.last_at.item()
        if since >= self.rewarm:
            return 1.0
        return REWARM_FROM + (1 - REWARM_FROM) * (1 - math.cos(math.pi * since / self.rewarm)) / 2

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        for name in ("rows", "keys"):  # as many as were drawn
            saved = state_dict.get(prefix + name)
            if saved is not None:
                setattr(self, name, getattr(self, name).new_empty(saved.shape))
        super()._load_from_state_dict(state_dict, prefix, *rest)


@torch.no_grad()
def renew(sae: SparseAutoencoder, renewal: Renewal, optimiser: torch.optim.Optimizer) -> None:
    """w_i <- x / ||x||, the encoder along it, biases 0; Adam forgets these latents and no others."""
    latents, alive = renewal.latents, renewal.alive
    directions = torch.nn.functional.normalize(renewal.rows, dim=1)
    norms = torch.linalg.vector_norm(sae.W_enc[alive] if alive.any() else sae.W_enc, dim=1)
    for name, parameter in sae.named_parameters():
        if name == "b_dec":
            continue
        parameter[latents] = 0.0
        for moment in ("exp_avg", "exp_avg_sq"):
            optimiser.state[parameter][moment][latents] = 0.0
    sae.W_dec[latents] = directions
    sae.W_enc[latents] = directions * (ENCODER_SHARE * norms.mean())
