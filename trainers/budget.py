"""How a budget of FLOPs is best spent: the size and the tokens at which a fitted law is lowest.

One stream feeds `num_sizes` SAEs, each `STEP` times as wide as the next, so a token costs the language model once and
each SAE once: C = D (F_model + sum of F_sae(n / STEP^i)). The widest is what is made as good as can be.
"""

from dataclasses import dataclass

import numpy as np

from trainers.law_fit import Estimate, LawFit, estimate
from trainers.scaling_law import Floats, Variable
from trainers.training_cost import SaeShape, training_flops

STEP = 4
SMALLEST = 2**6
LARGEST = 2**30
FINENESS = 8
"""Sizes that are looked at between a number and its double."""
NEARLY = 0.01
"""A size whose loss is within this share of the best is as good."""


@dataclass(frozen=True)
class Costs:
    """What a token costs."""

    shape: SaeShape
    model_flops: float
    """Of the language model's forward on a token, to the last hooked layer."""
    num_sizes: int = 1

    def per_token(self, num_latents: Floats) -> Floats:
        """FLOPs of all that a token meets, when the widest SAE has `num_latents`."""
        sizes = [num_latents / STEP**at for at in range(self.num_sizes)]
        return self.model_flops + np.sum([training_flops(self.shape, one) for one in sizes], axis=0)

    def widest(self, budget: float, tokens: float) -> float:
        """The most latents that `budget` trains on `tokens` tokens; 0 where it does not pay for any."""
        sizes = candidate_sizes()
        paid = self.per_token(sizes) * tokens <= budget
        return float(sizes[paid].max()) if paid.any() else 0.0


@dataclass(frozen=True)
class Spending:
    """A budget, spent best."""

    latents: Estimate
    tokens: Estimate
    loss: Estimate
    as_good: tuple[float, float]
    """Sizes between which the loss is within `NEARLY` of the best."""
    at_end: bool
    """The best size is the last that was looked at: the law has no best size here."""


def candidate_sizes() -> Floats:
    """Rising, `FINENESS` for each doubling."""
    doublings = round(np.log2(LARGEST / SMALLEST))
    return np.geomspace(SMALLEST, LARGEST, doublings * FINENESS + 1)


def best_spending(law: LawFit, costs: Costs, budget: float, max_tokens: float = np.inf) -> Spending:
    """Where `law`, which must know tokens, is lowest for `budget` FLOPs and at most `max_tokens`."""
    sizes = candidate_sizes()
    tokens = np.minimum(budget / costs.per_token(sizes), max_tokens)
    at: dict[Variable, Floats] = {
        "latents": sizes,
        "tokens": tokens,
        "active": np.full_like(sizes, costs.shape.active),
    }
    losses, drawn = law.loss(at), law.drawn_losses(at)
    best, bests = int(np.argmin(losses)), np.argmin(drawn, axis=1)
    near = sizes[losses <= (1 + NEARLY) * losses[best]]
    return Spending(
        latents=estimate(sizes[best], sizes[bests]),
        tokens=estimate(tokens[best], tokens[bests]),
        loss=estimate(losses[best], drawn[:, best]),
        as_good=(float(near[0]), float(near[-1])),
        at_end=best in (0, len(sizes) - 1),
    )
