"""The generators do what they say, and the recovery metrics are those of SAELens' benchmark."""

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmarks.recovery import FiringCounts, compare_directions, measure
from benchmarks.synthetic import (
    Truth,
    all_at_once,
    correlated,
    directions,
    hierarchical,
    independent,
    trees,
    zipf,
    zipf_rates,
)
from trainers.topk import TopK

ROWS = 20_000

ALL = {
    "orthogonal": independent("orthogonal", 32, 32, 3.0),
    "superposed": independent("superposed", 128, 32, 3.0),
    "zipf": zipf(128, 32, 3.0),
    "hierarchical": hierarchical(126, 32, 3.0),
    "correlated": correlated(128, 32, 3.0),
    "all at once": all_at_once(256, 64),
}
EVERY = pytest.mark.parametrize("truth", ALL.values(), ids=ALL.keys())


def firing_correlations(truth: Truth) -> np.ndarray:
    fires = truth.draw(0, ROWS).acts > 0
    found = np.corrcoef(fires.T.astype(np.float64))
    np.fill_diagonal(found, 0.0)
    return found


@EVERY
def test_rows_are_sums_of_the_directions_and_a_function_of_seed_and_number(truth: Truth) -> None:
    draw, again, other = truth.draw(3, 500), truth.draw(3, 500), truth.draw(4, 500)
    assert draw.x.dtype == draw.acts.dtype == np.float32
    assert draw.x.shape == (500, truth.d_in)
    assert np.array_equal(draw.x, again.x)
    assert np.array_equal(draw.acts, again.acts)
    assert not np.array_equal(draw.acts, other.acts)
    bias = 0.0 if truth.bias is None else truth.bias
    assert np.allclose(draw.acts @ truth.directions + bias, draw.x)
    assert (draw.acts >= 0).all()
    assert np.allclose(np.linalg.norm(truth.directions, axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("name", ["orthogonal", "superposed", "zipf", "correlated"])
def test_features_fire_as_often_as_their_rates_say(name: str) -> None:
    truth = ALL[name]
    found = (truth.draw(0, ROWS).acts > 0).mean(0)
    deviation = np.sqrt(truth.rates * (1 - truth.rates) / ROWS)
    assert np.abs((found - truth.rates) / deviation).max() < 4.5
    assert truth.active == pytest.approx(3.0, rel=0.02)


def test_zipf_falls_with_the_root_of_the_rank() -> None:
    rates = ALL["zipf"].rates
    assert rates[0] / rates[3] == pytest.approx(2)
    assert rates[0] / rates[99] == pytest.approx(10)
    published = zipf_rates(16_384, 0.5, 0.4, 5e-4)
    assert (published[0], published[-1]) == pytest.approx((0.4, 5e-4))


@pytest.mark.parametrize("name", ["hierarchical", "all at once"])
def test_children_fire_with_their_parents_and_never_beside_a_sibling(name: str) -> None:
    truth, acts = ALL[name], ALL[name].draw(0, ROWS).acts
    assert truth.parents is not None
    children = np.flatnonzero(truth.parents >= 0)
    assert (acts[:, children] > 0).any(0).mean() > 0.9
    assert not ((acts[:, children] > 0) & (acts[:, truth.parents[children]] == 0)).any()
    for parent in np.unique(truth.parents[children]):
        assert ((acts[:, truth.parents == parent] > 0).sum(1) <= 1).all()


def test_a_child_is_as_large_as_its_parent_lets_it() -> None:
    truth, acts = ALL["hierarchical"], ALL["hierarchical"].draw(0, ROWS).acts
    assert truth.parents is not None
    children = np.flatnonzero(truth.parents >= 0)
    mine, of_parent = acts[:, children], acts[:, truth.parents[children]]
    together = np.stack([mine[mine > 0], of_parent[mine > 0]])
    assert np.corrcoef(together)[0, 1] > 0.3


def test_trees_are_laid_out_level_by_level() -> None:
    assert trees(9, 2, 3, 1).tolist() == [-1, -1, 0, 0, 0, 1, 1, 1, -1]
    with pytest.raises(ValueError, match="too few"):
        trees(7, 2, 3, 1)


def test_the_copula_makes_features_fire_together() -> None:
    assert np.abs(firing_correlations(ALL["superposed"])).max() < 0.06
    assert np.abs(firing_correlations(ALL["correlated"])).max() > 0.2


def test_few_directions_come_out_orthogonal_and_many_keep_some_overlap() -> None:
    few, many = directions(32, 32, seed=1), directions(128, 32, seed=1)
    assert np.abs(few @ few.T - np.eye(32)).max() < 1e-3
    overlap = np.abs(many @ many.T - np.eye(128)).max()
    random = np.random.default_rng(0).standard_normal((128, 32))
    random /= np.linalg.norm(random, axis=1, keepdims=True)
    assert 0.1 < overlap < np.abs(random @ random.T - np.eye(128)).max()


def test_elsewhere_the_same_features_fire_in_other_directions() -> None:
    here = ALL["superposed"]
    there = here.elsewhere(9)
    assert np.array_equal(here.draw(2, 100).acts, there.draw(2, 100).acts)
    assert np.abs((here.directions * there.directions).sum(1)).mean() < 0.3


def some_decoder(truth: Truth, num_latents: int) -> Tensor:
    """True directions, some twice, some flipped, some of other length, with noise."""
    generator = torch.Generator().manual_seed(0)
    chosen = torch.randint(0, truth.num_features, (num_latents,), generator=generator)
    signs = torch.where(torch.rand(num_latents, generator=generator) < 0.2, -2.0, 0.5)
    noise = 0.1 * torch.randn(num_latents, truth.d_in, generator=generator)
    return torch.from_numpy(truth.directions)[chosen] * signs[:, None] + noise


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("num_latents", [50, 200])
def test_metrics_are_those_of_saelens(num_latents: int) -> None:
    from sae_lens.synthetic.evals import (
        compute_classification_metrics,
        feature_uniqueness,
        mean_correlation_coefficient,
    )

    truth = ALL["superposed"]
    decoder, true_directions = some_decoder(truth, num_latents), torch.from_numpy(truth.directions)
    true_acts = torch.from_numpy(truth.draw(0, 2000).acts)
    acts = (true_acts @ true_directions @ decoder.T - 3).relu()
    counts = FiringCounts(decoder, true_directions)
    for rows in range(0, 2000, 500):
        counts.add(acts[rows : rows + 500], true_acts[rows : rows + 500])
    found, score = compare_directions(decoder, true_directions), counts.score()
    theirs = compute_classification_metrics(acts, true_acts, decoder, true_directions)
    assert 0.1 < score.f1 < 0.9
    assert found.mcc == pytest.approx(mean_correlation_coefficient(decoder, true_directions), abs=1e-6)
    assert found.uniqueness == pytest.approx(feature_uniqueness(decoder, true_directions))
    assert tuple(score) == pytest.approx((theirs.precision, theirs.recall, theirs.f1_score), abs=1e-6)


def test_means_of_greatest_cosines_are_of_features_and_of_latents() -> None:
    truth = torch.eye(4)
    decoder = torch.tensor([[3.0, 0, 0, 0], [-1, 0, 0, 0], [0, 1, 1, 0]])
    found = compare_directions(decoder, truth)
    half = 2**-0.5
    assert found.mmcs == pytest.approx((1 + half + half + 0) / 4)
    assert found.mmcs_latents == pytest.approx((1 + 0 + half) / 3)
    assert found.recovered == 0.25
    assert found.uniqueness == pytest.approx(2 / 3)
    assert found.mcc == pytest.approx((1 + half + 0) / 3)


def test_the_truth_itself_scores_best() -> None:
    truth = ALL["orthogonal"]
    sae = TopK(truth.d_in, truth.num_features, k=truth.num_features)
    with torch.no_grad():
        sae.W_dec.copy_(torch.from_numpy(truth.directions))
        sae.W_enc.copy_(sae.W_dec)
        sae.b_enc.fill_(-1e-3)
    found = measure(sae, [truth], [truth], 3000)
    assert found.fvu < 1e-5
    assert found.firing.f1 > 0.99
    assert found.directions == pytest.approx((1, 1, 1, 1, 1), abs=1e-4)
    assert found.l0 == pytest.approx(found.true_l0, rel=0.01)
