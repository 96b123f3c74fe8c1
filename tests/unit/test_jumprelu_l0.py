import math

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from shared.penalty_configs import JumpReLUConfig
from tests.trainer_samples import JUMPRELU, new_trainer, some_block
from trainers.architectures import make_objective
from trainers.firing import Firing
from trainers.jumprelu_l0 import JumpReLUObjective

D_IN, NUM_LATENTS, ROWS, BANDWIDTH = 16, 64, 300, 0.4


def some_objective(**keys: object) -> JumpReLUObjective:
    keys = {"name": "j", "architecture": "jumprelu", "num_latents": NUM_LATENTS, "bandwidth": BANDWIDTH, **keys}
    objective = make_objective(JumpReLUConfig.model_validate(keys), (D_IN,), 0)
    assert isinstance(objective, JumpReLUObjective)
    generator = torch.Generator().manual_seed(0)
    objective.double()
    with torch.no_grad():
        for parameter in objective.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
        objective.log_threshold.fill_(math.log(0.5)).add_(torch.linspace(-0.5, 0.5, NUM_LATENTS))
        objective.sae.threshold.copy_(objective.log_threshold.exp())
    return objective


def some_rows() -> Tensor:
    return torch.randn(ROWS, D_IN, generator=torch.Generator().manual_seed(1)).double()


@torch.no_grad()
def closed_form(objective: JumpReLUObjective, x: Tensor, l0_slope: float) -> dict[str, Tensor]:
    """The gradients as the paper writes them, where the loss rises by `l0_slope` for each active latent of a row."""
    sae = objective.sae
    centred = x - sae.b_dec
    z = centred @ sae.W_enc.T + sae.b_enc
    threshold = objective.log_threshold.exp()
    acts = torch.where(z > threshold, z, 0.0)
    d_recon = -2 * (x - acts @ sae.W_dec - sae.b_dec)
    d_acts = d_recon @ sae.W_dec.T
    near = ((z - threshold).abs() < BANDWIDTH / 2).double()
    d_threshold = -(near * (l0_slope + threshold * d_acts)).mean(0) / BANDWIDTH
    d_z = torch.where(z > threshold, d_acts, 0.0)
    return {
        "log_threshold": d_threshold * threshold,
        "sae.W_enc": d_z.T @ centred / ROWS,
        "sae.W_dec": acts.T @ d_recon / ROWS,
        "sae.b_enc": d_z.mean(0),
        "sae.b_dec": d_recon.mean(0) - d_z.mean(0) @ sae.W_enc,
    }


def gradients(objective: JumpReLUObjective) -> dict[str, Tensor]:
    return {name: parameter.grad for name, parameter in objective.named_parameters() if parameter.grad is not None}


@pytest.mark.parametrize(("fraction", "l0_coefficient"), [(0.0, 0.0), (0.05, 0.015), (0.1, 0.03), (1.0, 0.03)])
def test_gradients_are_the_closed_form(fraction: float, l0_coefficient: float) -> None:
    objective, x = some_objective(l0_coefficient=0.03, l0_warmup_fraction=0.1), some_rows()
    result = objective.backward(x, Firing(NUM_LATENTS, 10, 10), fraction)
    assert 1 < result.l0 < NUM_LATENTS / 2
    assert_close(gradients(objective), closed_form(objective, x, l0_coefficient))
    mse = (x - objective.sae(x)).square().sum(1).mean().item()
    assert result.losses == pytest.approx(
        {"loss": mse + l0_coefficient * result.l0, "mse": mse, "l0_penalty": result.l0}
    )


def test_a_target_pulls_l0_from_either_side() -> None:
    x = some_rows()
    l0 = some_objective().backward(x, Firing(NUM_LATENTS, 10, 10), 1.0).l0
    for target in (l0 / 2, 2 * l0):
        objective = some_objective(target_l0=target, l0_coefficient=0.7)
        result = objective.backward(x, Firing(NUM_LATENTS, 10, 10), 1.0)
        assert result.losses["l0_penalty"] == pytest.approx((l0 / target - 1) ** 2)
        slope = 2 * 0.7 * (l0 / target - 1) / target
        assert_close(gradients(objective), closed_form(objective, x, slope))


def test_published_defaults() -> None:
    config = JumpReLUConfig(name="j", architecture="jumprelu", num_latents=8)
    objective = make_objective(config, (D_IN,), 0)
    sae = objective.sae
    assert objective.peak_lr == 7e-5 and config.adam_betas == (0, 0.999) and objective.adam_eps == 1e-8
    assert config.normalize == "unit_mean_square" and config.bandwidth == 0.001
    assert_close(objective.trained().get_buffer("threshold"), torch.full((8,), 0.001))
    assert_close(sae.W_dec.detach().norm(dim=1), torch.ones(8))
    assert torch.equal(sae.W_enc, sae.W_dec)
    assert sae.b_enc.abs().max() == sae.b_dec.abs().max() == 0


def test_directions_stay_unit_and_the_threshold_is_what_was_learnt() -> None:
    trainer = new_trainer(JUMPRELU)
    before = trainer.sae.get_buffer("threshold").clone()
    for number in range(3):
        trainer.read(number, some_block(number))
        assert (trainer.sae.W_dec.norm(dim=1) - 1).abs().max() < 1e-5
    assert isinstance(trainer.objective, JumpReLUObjective)
    threshold = trainer.objective.log_threshold.exp()
    assert torch.equal(trainer.sae.get_buffer("threshold"), threshold)
    assert (threshold - before).abs().min() > 1e-3
    exported = trainer.exported()
    assert_close(exported.get_buffer("threshold"), threshold / trainer.scales["h"])
    assert_close(exported.W_dec.norm(dim=1), torch.ones(64))
