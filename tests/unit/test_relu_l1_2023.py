import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from shared.penalty_configs import ReluL12023Config
from trainers.architectures import make_objective
from trainers.firing import Firing
from trainers.relu_l1_2023 import ReluL12023Objective

D_IN, NUM_LATENTS, ROWS = 12, 20, 50


def some_objective(**keys: object) -> ReluL12023Objective:
    keys = {"name": "b", "architecture": "relu_l1_2023", "num_latents": NUM_LATENTS, **keys}
    objective = make_objective(ReluL12023Config.model_validate(keys), (D_IN,), 0)
    assert isinstance(objective, ReluL12023Objective)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in objective.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    return objective.double()


def some_rows() -> Tensor:
    return torch.randn(ROWS, D_IN, generator=torch.Generator().manual_seed(1)).double()


@pytest.mark.parametrize(("fraction", "l1_coefficient"), [(0.0, 0.0), (0.05, 0.35), (1.0, 0.7)])
def test_gradient_is_the_closed_form(fraction: float, l1_coefficient: float) -> None:
    """With e = x - recon, H = [acts > 0], g = -2 e W_dec^T + lambda on H, d / d b_dec = -2 e - g W_enc."""
    objective, x = some_objective(l1_coefficient=0.7, l1_warmup_fraction=0.1), some_rows()
    firing = Firing(NUM_LATENTS, 10, 10)
    result = objective.backward(x, firing, fraction)
    with torch.no_grad():
        W_enc, W_dec, b_enc, b_dec = (
            objective.sae.get_parameter(name) for name in ("W_enc", "W_dec", "b_enc", "b_dec")
        )
        acts = ((x - b_dec) @ W_enc.T + b_enc).relu()
        error = x - (acts @ W_dec + b_dec)
        d_pre = (acts > 0) * (-2 * error @ W_dec.T + l1_coefficient)
        expected = {
            "W_enc": d_pre.T @ (x - b_dec) / ROWS,
            "W_dec": acts.T @ (-2 * error) / ROWS,
            "b_enc": d_pre.sum(0) / ROWS,
            "b_dec": (-2 * error - d_pre @ W_enc).sum(0) / ROWS,
        }
    assert_close({name: one.grad for name, one in objective.sae.named_parameters()}, expected)
    loss = error.square().sum(1).mean() + l1_coefficient * acts.sum(1).mean()
    assert result.losses["loss"] == pytest.approx(loss.item())
    assert torch.equal(firing.fired, (acts > 0).sum(0))
    assert_close(result.error, error)


def test_starts_at_the_median_with_unit_directions_the_same_in_both_matrices() -> None:
    objective = make_objective(ReluL12023Config(name="b", architecture="relu_l1_2023", num_latents=8), (D_IN,), 0)
    assert_close(objective.sae.W_dec.detach().norm(dim=1), torch.ones(8))
    assert torch.equal(objective.sae.W_enc, objective.sae.W_dec)
    assert objective.sae.b_enc.abs().max() == 0
    rows = 5 + torch.randn(4000, D_IN)
    objective.start(rows)
    assert_close(objective.sae.b_dec.detach(), rows.mean(0), atol=0.05, rtol=0)


def test_defaults() -> None:
    config = ReluL12023Config(name="b", architecture="relu_l1_2023", num_latents=8)
    assert config.resample_at_fractions == (0.025, 0.05, 0.075, 0.1)
    assert (config.normalize, config.l1_coefficient) == ("unit_mean_square", 0.03)
    assert make_objective(config, (D_IN,), 0).peak_lr == 3e-4
