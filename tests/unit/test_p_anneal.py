import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from shared.penalty_configs import PAnnealConfig
from tests.sae_folders import randomised
from tests.trainer_samples import P_ANNEAL, new_trainer, some_block
from trainers.architectures import make_objective
from trainers.firing import Firing
from trainers.p_anneal import RECENT_BATCHES, PAnnealObjective, changes_due, sum_of_powers

D_IN, NUM_LATENTS, ROWS = 12, 20, 50


def some_config(**keys: object) -> PAnnealConfig:
    return PAnnealConfig.model_validate({"name": "p", "architecture": "p_anneal", "num_latents": NUM_LATENTS, **keys})


def some_objective(**keys: object) -> PAnnealObjective:
    objective = make_objective(some_config(**keys), (D_IN,), 0)
    assert isinstance(objective, PAnnealObjective)
    randomised(objective.sae)
    return objective.double()


def some_rows(seed: int = 1) -> Tensor:
    return torch.randn(ROWS, D_IN, generator=torch.Generator().manual_seed(seed)).double()


@pytest.mark.parametrize(("num_changes", "power"), [(0, 1.0), (1, 0.6), (2, 0.2)])
def test_gradient_is_the_closed_form(num_changes: int, power: float) -> None:
    """With e = x - recon, H = [acts > 0]: g = -2 e W_dec^T + lambda s p acts^(p - 1) on H, for the encoder."""
    objective, x = some_objective(l1_coefficient=0.7, l1_warmup_fraction=0, num_powers=3), some_rows()
    objective.num_changes.fill_(num_changes)
    objective.rescaling.fill_(1.5)
    result = objective.backward(x, Firing(NUM_LATENTS, 10, 10), 0.0)
    with torch.no_grad():
        sae = objective.sae
        acts = ((x - sae.b_dec) @ sae.W_enc.T + sae.b_enc).relu()
        error, fires = x - (acts @ sae.W_dec + sae.b_dec), acts > 0
        slope = torch.where(fires, 0.7 * 1.5 * power * acts ** (power - 1), 0.0)
        d_pre = fires * (-2 * error @ sae.W_dec.T) + slope
        expected = {
            "W_enc": d_pre.T @ (x - sae.b_dec) / ROWS,
            "W_dec": acts.T @ (-2 * error) / ROWS,
            "b_enc": d_pre.sum(0) / ROWS,
            "b_dec": (-2 * error - d_pre @ sae.W_enc).sum(0) / ROWS,
        }
        penalty = torch.where(fires, acts**power, 0.0).sum(1).mean()
    assert_close({name: one.grad for name, one in sae.named_parameters()}, expected)
    assert result.losses["penalty"] == pytest.approx(penalty.item())
    assert result.losses["loss"] == pytest.approx((error.square().sum(1).mean() + 0.7 * 1.5 * penalty).item())


def test_the_penalty_over_the_last_batches_is_the_same_before_and_after_p_falls() -> None:
    objective = some_objective(num_powers=3, anneal_from_fraction=0.0)
    firing, batches = Firing(NUM_LATENTS, 10, 10), [some_rows(seed) for seed in range(14)]
    for batch in batches[:-1]:
        objective.backward(batch, firing, 0.0)
    assert objective.rescaling == 1 and objective.num_changes == 0
    objective.backward(batches[-1], firing, 0.34)
    recent = [objective.sae.encode(batch).detach() for batch in batches[-RECENT_BATCHES:]]
    before, after = (sum(sum_of_powers(acts, power).mean().item() for acts in recent) for power in (1.0, 0.6))
    assert objective.num_changes == 1
    assert objective.rescaling.item() * after == pytest.approx(before)
    assert objective.recent.abs().max() == 0


def test_a_penalty_of_zero_leaves_lambda() -> None:
    objective = some_objective(num_powers=3, anneal_from_fraction=0.0)
    with torch.no_grad():
        objective.sae.b_enc.fill_(-1e6)
    objective.backward(some_rows(), Firing(NUM_LATENTS, 10, 10), 0.5)
    assert (objective.num_changes, objective.rescaling) == (1, 1)


def test_p_falls_from_1_to_its_end_in_steps_that_last_as_long_as_each_other() -> None:
    config = some_config(num_powers=5, anneal_from_fraction=0.5)
    assert [changes_due(config, at) for at in (0, 0.5, 0.59, 0.61, 0.71, 0.81, 0.91, 1)] == [0, 0, 0, 1, 2, 3, 4, 4]
    objective = some_objective(num_powers=5)
    assert [objective.power(number) for number in range(5)] == pytest.approx([1, 0.8, 0.6, 0.4, 0.2])


def test_a_run_ends_with_the_last_power_and_a_lambda_of_its_own() -> None:
    trainer = new_trainer(P_ANNEAL, 5)
    for number in range(5):
        trainer.read(number, some_block(number))
    assert isinstance(trainer.objective, PAnnealObjective)
    assert trainer.objective.power(int(trainer.objective.num_changes)) == pytest.approx(0.2)
    assert 0 < trainer.objective.rescaling.item() < 1


def test_defaults_are_those_of_the_published_sweep() -> None:
    config = some_config()
    assert (config.p_end, config.num_powers, config.anneal_from_fraction) == (0.2, 10, 0.04)
    assert (config.l1_coefficient, config.normalize, config.lr_decay_fraction) == (0.01, "unit_mean_square", 0.2)
    assert make_objective(config, (D_IN,), 0).peak_lr == 3e-4
