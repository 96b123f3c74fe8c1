"""A budget spent by a law whose best size is known in closed form, and what a token costs."""

import numpy as np
import pytest

from trainers.budget import STEP, Costs, best_spending
from trainers.law_fit import fit_law
from trainers.scaling_law import TOKENS, Points
from trainers.training_cost import SaeShape, training_flops

D_IN = 768
TOPK = SaeShape("topk", D_IN, D_IN, active=0.0)
"""With no active latents a token costs 2 d m and nothing else."""


def floats(*values):
    return np.array(values, dtype=np.float64)


@pytest.fixture(scope="module")
def law():
    """L = 0.02 + 2 n^-0.3 + 30 D^-0.35, as SAEs of five sizes and three lengths have it."""
    n, D = (part.ravel() for part in np.meshgrid(2.0 ** np.arange(10, 20, 2), floats(2e7, 8e7, 3.2e8), indexing="ij"))
    points = Points(n, np.full_like(n, 32.0), D, 2 * D_IN * n * D, 0.02 + 2 * n**-0.3 + 30 * D**-0.35)
    return fit_law(TOKENS, points, num_draws=20)


def test_the_best_size_is_that_of_the_closed_form(law):
    """At C = 2 d n D the derivative is zero where 0.3 a n^-0.3 = 0.35 b (C / 2 d n)^-0.35."""
    for budget in (1e17, 1e20):
        spent = best_spending(law, Costs(TOPK, model_flops=0.0), budget)
        best = (0.3 * 2 / (0.35 * 30) * (budget / (2 * D_IN)) ** 0.35) ** (1 / 0.65)
        assert spent.latents.value == pytest.approx(best, rel=0.1)
        assert spent.tokens.value * spent.latents.value * 2 * D_IN == pytest.approx(budget)
        assert spent.loss.value == pytest.approx(
            0.02 + 2 * best**-0.3 + 30 * (budget / (2 * D_IN * best)) ** -0.35, rel=1e-3
        )
        assert spent.as_good[0] < best < spent.as_good[1] and not spent.at_end


def test_a_larger_model_moves_the_budget_to_fewer_tokens_and_more_latents(law):
    alone = best_spending(law, Costs(TOPK, model_flops=0.0), 1e19)
    dear = best_spending(law, Costs(TOPK, model_flops=1e10), 1e19)
    assert dear.tokens.value < alone.tokens.value and dear.latents.value > alone.latents.value
    assert dear.loss.value > alone.loss.value


def test_a_corpus_that_is_too_short_leaves_more_for_latents(law):
    free = best_spending(law, Costs(TOPK, model_flops=0.0), 1e19)
    short = best_spending(law, Costs(TOPK, model_flops=0.0), 1e19, max_tokens=free.tokens.value / 10)
    assert short.tokens.value == pytest.approx(free.tokens.value / 10)
    assert short.latents.value == pytest.approx(1e19 / (2 * D_IN * short.tokens.value), rel=0.1)


def test_sizes_on_one_stream_share_the_model():
    one, three = Costs(TOPK, 1e9), Costs(TOPK, 1e9, num_sizes=3)
    alone, together = (costs.per_token(floats(2**20))[0] for costs in (one, three))
    assert alone == 1e9 + 2 * D_IN * 2**20
    assert together == 1e9 + 2 * D_IN * 2**20 * (1 + 1 / STEP + 1 / STEP**2)


def test_the_widest_that_a_budget_pays_for():
    costs = Costs(TOPK, model_flops=0.0)
    assert costs.widest(2 * D_IN * 2**16 * 1e6 * 1.001, 1e6) == pytest.approx(2**16)
    assert costs.widest(1e6, 1e9) == 0


@pytest.mark.parametrize(
    ("architecture", "active", "flops"),
    [
        ("topk", 64, 2 * 768 * 16384 + 8 * 64 * 768),
        ("relu_l1", 64, 2 * 768 * 16384 + 8 * 64 * 768),
        ("relu_l1", 4096, 12 * 768 * 16384),
        ("jumprelu", 64, 12 * 768 * 16384),
        ("gated", 64, 18 * 768 * 16384),
        ("mine.own:Class", 64, 12 * 768 * 16384),
    ],
)
def test_what_a_token_costs(architecture, active, flops):
    assert training_flops(SaeShape(architecture, 768, 768, active), floats(16384))[0] == flops


def test_a_transcoder_costs_by_both_its_widths():
    assert training_flops(SaeShape("transcoder", 512, 768, 32), floats(4096))[0] == 6 * 4096 * (512 + 768)
