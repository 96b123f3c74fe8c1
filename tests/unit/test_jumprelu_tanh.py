import math

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from shared.penalty_configs import JumpReLUTanhConfig
from tests.trainer_samples import JUMPRELU_TANH, new_trainer, some_block
from trainers.architectures import make_objective
from trainers.firing import Firing
from trainers.jumprelu_tanh import JumpReLUTanhObjective

D_IN, NUM_LATENTS, ROWS, BANDWIDTH = 16, 64, 300, 0.8


def some_objective(**keys: object) -> JumpReLUTanhObjective:
    keys = {"name": "a", "architecture": "jumprelu_tanh", "num_latents": NUM_LATENTS, **keys}
    objective = make_objective(JumpReLUTanhConfig.model_validate(keys), (D_IN,), 0)
    assert isinstance(objective, JumpReLUTanhObjective)
    return objective


def some_rows(num_rows: int = ROWS) -> Tensor:
    return torch.randn(num_rows, D_IN, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("fraction", [0.0, 0.25, 1.0])
def test_the_gradient_of_a_threshold_is_the_one_of_the_update(fraction: float) -> None:
    objective = some_objective(bandwidth=BANDWIDTH, pre_act_coefficient=0.02, sparsity_coefficient=3.0).double()
    x, sae, t = some_rows().double(), objective.sae, objective.log_threshold
    with torch.no_grad():
        sae.W_enc.copy_(torch.randn(NUM_LATENTS, D_IN, generator=torch.Generator().manual_seed(2)) / 4)
        t.copy_(torch.linspace(-1, 0.5, NUM_LATENTS))
    result = objective.backward(x, Firing(NUM_LATENTS, 10, 10), fraction)
    with torch.no_grad():
        z, threshold, norms = x @ sae.W_enc.T, t.exp(), sae.W_dec.norm(dim=1)
        acts = torch.where(z > threshold, z, 0.0)
        d_acts = -2 * (x - acts @ sae.W_dec) @ sae.W_dec.T
        d_acts += fraction * 3.0 * 4 * norms / (4 * acts * norms).cosh().square()
        near = ((z - threshold).abs() < BANDWIDTH / 2).double()
        expected = -(threshold / BANDWIDTH * near * d_acts).mean(0)
        expected += 0.02 * (threshold * norms * (z < threshold)).mean(0)
    assert 1 < result.l0 < NUM_LATENTS / 2
    assert_close(t.grad, expected)


def test_each_latent_starts_on_its_share_of_rows() -> None:
    x = some_rows(2000) + 3
    objective = some_objective(start_l0=16.0)
    objective.start(x)
    share = (objective.trained().encode(x) > 0).double().mean(0)
    assert share.min() > 0.24 and share.max() < 0.26
    small = some_objective()
    small.start(x)
    assert (small.trained().encode(x) > 0).double().mean().item() == pytest.approx(0.5, abs=0.01)


def test_published_defaults() -> None:
    config = JumpReLUTanhConfig(name="a", architecture="jumprelu_tanh", num_latents=256)
    objective = make_objective(config, (D_IN,), 0)
    sae = objective.sae
    assert config.batch_rows * config.accumulate == 32_768 and config.grad_clip == 1 and config.normalize == "sqrt_d"
    assert objective.peak_lr == 2e-4 and config.lr_decay_fraction == 0.2 and config.sparsity_warmup_fraction == 1
    assert (config.tanh_scale, config.bandwidth, config.pre_act_coefficient) == (4, 2, 3e-6)
    assert_close(sae.get_buffer("threshold"), torch.full((256,), math.exp(0.1)))
    assert_close(sae.W_enc.detach(), sae.W_dec.detach() * D_IN / 256)
    assert 0.9 / math.sqrt(D_IN) < sae.W_dec.abs().max() <= 1 / math.sqrt(D_IN)
    assert not sae.subtracts_b_dec and sae.b_dec.abs().max() == 0


def test_thresholds_are_saved_in_units_of_raw_rows() -> None:
    trainer = new_trainer(JUMPRELU_TANH)
    for number in range(2):
        trainer.read(number, some_block(number))
    assert isinstance(trainer.objective, JumpReLUTanhObjective)
    assert torch.equal(trainer.sae.get_buffer("threshold"), trainer.objective.log_threshold.exp())
    norms = trainer.sae.W_dec.norm(dim=1)
    assert (norms - 1).abs().max() > 0.1
    expected = trainer.sae.get_buffer("threshold") * norms / trainer.scales["h"]
    assert_close(trainer.exported().get_buffer("threshold"), expected)
