import torch
from torch import Tensor
from torch.testing import assert_close

from trainers.straight_through import exp_of_slope_one, jump, step

ROWS, NUM_LATENTS, BANDWIDTH = 200, 8, 0.3


def inputs() -> tuple[Tensor, Tensor, Tensor]:
    """Pre-activations, thresholds, and the gradient of the output."""
    generator = torch.Generator().manual_seed(0)
    pre_acts, gradient = torch.randn(2, ROWS, NUM_LATENTS, generator=generator, dtype=torch.float64)
    threshold = torch.rand(NUM_LATENTS, generator=generator, dtype=torch.float64)
    return pre_acts.requires_grad_(), threshold.requires_grad_(), gradient


def rectangle(pre_acts: Tensor, threshold: Tensor) -> Tensor:
    return torch.where(((pre_acts - threshold) / BANDWIDTH).abs() < 0.5, 1.0, 0.0).double()


def test_jump_and_its_gradients_are_the_published_ones() -> None:
    pre_acts, threshold, gradient = inputs()
    acts = jump(pre_acts, threshold, BANDWIDTH)
    assert torch.equal(acts, torch.where(pre_acts > threshold, pre_acts, 0.0))
    found = torch.autograd.grad(acts, (pre_acts, threshold), gradient)
    per_row = -(threshold / BANDWIDTH) * rectangle(pre_acts, threshold) * gradient
    assert_close(found, (torch.where(pre_acts > threshold, gradient, 0.0), per_row.sum(0)))


def test_step_moves_thresholds_alone() -> None:
    pre_acts, threshold, gradient = inputs()
    fires = step(pre_acts, threshold, BANDWIDTH)
    assert torch.equal(fires, (pre_acts > threshold).double())
    found = torch.autograd.grad(fires, (pre_acts, threshold), gradient, allow_unused=True)
    assert found[0] is None
    assert_close(found[1], (-(1 / BANDWIDTH) * rectangle(pre_acts, threshold) * gradient).sum(0))


def test_the_window_reaches_as_far_below_the_threshold_as_above() -> None:
    threshold = torch.tensor([1.0], dtype=torch.float64, requires_grad=True)
    places = torch.tensor([0.84, 0.86, 1.14, 1.16], dtype=torch.float64)
    found = [
        torch.autograd.grad(step(place.view(1, 1), threshold, BANDWIDTH).sum(), threshold)[0].item() for place in places
    ]
    assert found == [0, -1 / BANDWIDTH, -1 / BANDWIDTH, 0]


def test_the_estimator_is_the_mean_gradient_where_pre_activations_are_spread_evenly() -> None:
    """d/dthreshold E[H(z - threshold)] is minus the density of z at the threshold."""
    pre_acts = torch.linspace(-2, 2, 40_001, dtype=torch.float64).unsqueeze(1)
    threshold = torch.tensor([0.5], dtype=torch.float64, requires_grad=True)
    found = torch.autograd.grad(step(pre_acts, threshold, BANDWIDTH).mean(), threshold)[0]
    assert_close(found, torch.tensor([-1 / 4], dtype=torch.float64), rtol=1e-3, atol=0)


def test_exp_of_slope_one() -> None:
    t = torch.tensor([-1.0, 0.1, 2.0], dtype=torch.float64, requires_grad=True)
    value = exp_of_slope_one(t)
    assert torch.equal(value, t.exp())
    assert_close(
        torch.autograd.grad(value, t, torch.tensor([1.0, 2, 3]).double())[0], torch.tensor([1.0, 2, 3]).double()
    )
