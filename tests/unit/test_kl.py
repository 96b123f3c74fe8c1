import math
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from shared.errors import UserError
from shared.penalty_configs import KlConfig
from tests.sae_folders import FACTS, randomised
from tests.trainer_samples import KL, new_trainer, some_block
from trainers import load_sae
from trainers.architectures import make_objective
from trainers.firing import Firing
from trainers.formats import export_sae
from trainers.kl import KlObjective, Sigmoid
from trainers.quality import LatentSums
from trainers.saelens_format import save_sae

D_IN, NUM_LATENTS, ROWS = 12, 20, 50


def some_objective(**keys: object) -> KlObjective:
    config = KlConfig.model_validate({"name": "k", "architecture": "kl", "num_latents": NUM_LATENTS, **keys})
    objective = make_objective(config, (D_IN,), 0)
    assert isinstance(objective, KlObjective)
    randomised(objective.sae)
    return objective.double()


def some_rows(seed: int = 1) -> Tensor:
    return torch.randn(ROWS, D_IN, generator=torch.Generator().manual_seed(seed)).double()


def naive_loss(objective: KlObjective, x: Tensor) -> Tensor:
    """The equation with means over `x` alone, for autograd."""
    sae, rho = objective.sae, objective.config.rho
    acts = (x @ sae.W_enc.T + sae.b_enc).sigmoid()
    means = acts.mean(0)
    kl = (rho * (rho / means).log() + (1 - rho) * ((1 - rho) / (1 - means)).log()).sum()
    decay = sae.W_enc.square().sum() + sae.W_dec.square().sum()
    mse = (x - acts @ sae.W_dec - sae.b_dec).square().sum(1).mean()
    return mse / 2 + objective.config.beta * kl + objective.config.weight_decay / 2 * decay


def gradients(objective: KlObjective) -> list[Tensor]:
    return [one.grad.clone() for one in objective.parameters() if one.grad is not None]


def test_loss_and_gradient_over_one_batch_are_those_of_the_equation() -> None:
    objective, x = some_objective(rho=0.05, weight_decay=0.01), some_rows()
    result = objective.backward(x, Firing(NUM_LATENTS, 10, 10), 0.0)
    loss = naive_loss(objective, x)
    assert result.losses["loss"] == pytest.approx(loss.item())
    assert_close(gradients(objective), list(torch.autograd.grad(loss, list(objective.parameters()))))


def test_remembering_moves_the_mean_and_does_not_weaken_the_gradient() -> None:
    """d loss / d acts_i = beta / rows (-rho / rho_i + (1 - rho) / (1 - rho_i)), rho_i the mean with those before."""
    objective, x, rho = some_objective(rho=0.05, rho_decay=0.5, weight_decay=0.0), some_rows(2), 0.05
    firing = Firing(NUM_LATENTS, 10, 10)
    objective.backward(some_rows(1), firing, 0.0)
    objective.backward(x, firing, 0.0)
    with torch.no_grad():
        before, now = objective.sae.encode(some_rows(1)), objective.sae.encode(x)
        means = (0.5 * before.sum(0) + now.sum(0)) / (1.5 * ROWS)
        assert_close(objective.mean_acts, means)
        slope = objective.config.beta / ROWS * (-rho / means + (1 - rho) / (1 - means))
        error = x - objective.sae(x)
        d_acts = -error @ objective.sae.W_dec.T / ROWS + slope
        expected = (d_acts * now * (1 - now)).sum(0)
    assert_close(objective.sae.b_enc.grad, expected)


def test_means_of_shards_add_up_to_that_of_the_whole() -> None:
    whole, first, second = (some_objective() for _ in range(3))
    firing = Firing(NUM_LATENTS, 10, 10)
    for batch in (some_rows(1), some_rows(2)):
        whole.backward(batch, firing, 0.0)
        first.backward(batch[:20], firing, 0.0)
        second.backward(batch[20:], firing, 0.0)
    assert_close((first.act_sum + second.act_sum) / (first.weight + second.weight), whole.mean_acts)


def test_means_at_the_edge_give_finite_gradients() -> None:
    objective, x = some_objective(), some_rows()
    with torch.no_grad():
        objective.sae.b_enc[0], objective.sae.b_enc[1] = -1e3, 1e3
    result = objective.backward(x, Firing(NUM_LATENTS, 10, 10), 0.0)
    assert math.isfinite(result.losses["loss"])
    assert all(one.isfinite().all() for one in gradients(objective))


def test_training_brings_mean_activations_to_the_target() -> None:
    trainer = new_trainer(KL, 20)
    for number in range(20):
        trainer.read(number, some_block(number))
    with torch.no_grad():
        acts = trainer.sae.encode(torch.from_numpy(some_block(30).activations["h"]) * trainer.scales["h"])
    assert acts.mean().item() == pytest.approx(KL.rho, rel=0.2)


def test_what_is_saved_keeps_activations_between_0_and_1_and_the_decoder_in_raw_units(tmp_path: Path) -> None:
    trainer = new_trainer(KL, 2)
    trainer.read(0, some_block(0))
    trainer.save_sae(tmp_path / "sae", FACTS)
    sae, raw, scale = load_sae(tmp_path / "sae"), torch.from_numpy(some_block(1).activations["h"]), trainer.scales["h"]
    with torch.no_grad():
        assert_close(sae.encode(raw), trainer.sae.encode(raw * scale), rtol=1e-4, atol=1e-5)
        assert_close(sae(raw), trainer.sae(raw * scale) / scale, rtol=1e-4, atol=1e-5)
        assert_close(sae.W_dec, trainer.sae.W_dec / scale)


@pytest.mark.filterwarnings("ignore")
def test_saelens_refuses_by_its_name(tmp_path: Path) -> None:
    sae_lens = pytest.importorskip("sae_lens")
    save_sae(randomised(Sigmoid(D_IN, NUM_LATENTS)), tmp_path / "sae", FACTS)
    with pytest.raises(KeyError, match="headrace_kl"):
        sae_lens.SAE.load_from_disk(tmp_path / "sae")
    with pytest.raises(UserError, match="SAELens has no headrace_kl"):
        export_sae(tmp_path / "sae", "saelens", tmp_path / "theirs")


def test_a_latent_fires_where_it_is_more_on_than_off() -> None:
    objective, x, firing = some_objective(), some_rows(), Firing(NUM_LATENTS, 10, 10)
    result = objective.backward(x, firing, 0.0)
    acts = objective.sae.encode(x).detach()
    assert torch.equal(firing.fired, (acts > 0.5).sum(0))
    assert 0 < result.l0 == (acts > 0.5).sum().item() / ROWS < NUM_LATENTS
    assert torch.equal(LatentSums.of(acts, Sigmoid.fires_above).fired, firing.fired)


def test_defaults_are_those_of_the_exercise() -> None:
    config = KlConfig(name="k", architecture="kl", num_latents=8)
    assert (config.rho, config.beta, config.weight_decay) == (0.01, 3.0, 1e-4)
    objective = make_objective(config, (D_IN,), 0)
    assert_close(objective.sae.activate(objective.sae.b_enc.detach()), torch.full((8,), 0.01))
