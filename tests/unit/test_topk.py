import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from shared.active_configs import TopKConfig
from trainers.architectures import make_objective
from trainers.firing import Firing
from trainers.sparse_objective import FIRED_ABOVE, nearest_power_of_two
from trainers.topk import TopKObjective
from trainers.trainer import Trainer

D_IN, NUM_LATENTS, ROWS = 16, 64, 100


def some_objective(seed: int = 0, dtype: torch.dtype = torch.float64, **keys: object) -> TopKObjective:
    """An objective with biases that are not zero and with weights that are no longer those of the start."""
    keys = {"name": "t", "architecture": "topk", "num_latents": NUM_LATENTS, "k": 4, **keys}
    objective = make_objective(TopKConfig.model_validate(keys), (D_IN,), seed)
    assert isinstance(objective, TopKObjective)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in objective.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
        objective.mse_scale.fill_(0.7)
    return objective.to(dtype)


def some_rows(seed: int = 1, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(ROWS, D_IN, generator=torch.Generator().manual_seed(seed)).to(dtype)


def some_firing(*dead: int) -> Firing:
    firing = Firing(NUM_LATENTS, 1000, 1000)
    firing.tokens_since_fired[list(dead)] = 10_000
    return firing


def naive_loss(objective: TopKObjective, x: Tensor, dead: Tensor) -> dict[str, Tensor]:
    """The equations as they stand, dense, for autograd."""
    sae = objective.sae
    pre_acts = (x - sae.b_dec) @ sae.W_enc.T + sae.b_enc
    recon = sparse(pre_acts, sae.k) @ sae.W_dec + sae.b_dec
    mse = objective.mse_scale * (recon - x).square().mean()
    auxk = torch.zeros((), dtype=x.dtype)
    if len(dead):
        error = (x - recon).detach()
        among_dead = torch.full_like(pre_acts, -torch.inf).index_copy(1, dead, pre_acts[:, dead])
        aux_recon = sparse(among_dead, min(objective.auxk, len(dead))) @ sae.W_dec
        auxk = (error - aux_recon).square().mean() / (error - error.mean(0)).square().mean()
    return {"loss": mse + objective.auxk_alpha * auxk, "mse": mse, "auxk": auxk}


def sparse(pre_acts: Tensor, k: int) -> Tensor:
    values, indices = torch.topk(pre_acts, k)
    return torch.zeros_like(pre_acts).scatter(1, indices, values.relu())


def naive_gradients(objective: TopKObjective, x: Tensor, dead: Tensor) -> dict[str, Tensor]:
    loss = naive_loss(objective, x, dead)["loss"]
    return dict(
        zip(
            dict(objective.named_parameters()),
            torch.autograd.grad(loss, list(objective.parameters())),
            strict=True,
        )
    )


def gradients(objective: TopKObjective) -> dict[str, Tensor]:
    return {name: parameter.grad for name, parameter in objective.named_parameters() if parameter.grad is not None}


@pytest.mark.parametrize("dead", [(), (3,), (1, 2, 5, 40), tuple(range(0, 64, 2))])
@pytest.mark.parametrize("k", [1, 4, 64])
def test_loss_and_gradients_equal_the_naive_ones(dead: tuple[int, ...], k: int) -> None:
    objective, x = some_objective(k=k), some_rows()
    firing = some_firing(*dead)
    for _ in range(2):
        result = objective.backward(x, firing, 0.0)
        still_dead = firing.dead()
        expected = naive_loss(objective, x, still_dead)
        assert result.losses == pytest.approx({name: value.item() for name, value in expected.items()})
        assert_close(gradients(objective), naive_gradients(objective, x, still_dead))
        assert_close(result.error, x - objective.sae(x))
        assert result.l0 == pytest.approx((objective.sae.encode(x) > 0).sum().item() / ROWS)


def test_gradients_equal_the_naive_ones_in_float32() -> None:
    objective, x = some_objective(dtype=torch.float32), some_rows(dtype=torch.float32)
    firing = some_firing(*range(NUM_LATENTS))
    with torch.no_grad():
        objective.sae.b_enc[:5] -= 2
    objective.backward(x, firing, 0.0)
    assert len(firing.dead())
    assert_close(gradients(objective), naive_gradients(objective, x, firing.dead()), rtol=1e-4, atol=1e-6)


def test_gradient_is_that_of_finite_differences() -> None:
    objective, x = some_objective(auxk_alpha=0.0), some_rows()
    objective.backward(x, some_firing(), 0.0)
    found = {name: gradient.clone() for name, gradient in gradients(objective).items()}
    step = 1e-6
    for name, parameter in objective.named_parameters():
        for index in range(0, parameter.numel(), max(1, parameter.numel() // 5)):
            flat = parameter.data.view(-1)
            losses = []
            for sign in (1, -1):
                flat[index] += sign * step
                losses.append(objective.backward(x, some_firing(), 0.0).losses["loss"])
                flat[index] -= sign * step
            expected = (losses[0] - losses[1]) / (2 * step)
            assert found[name].view(-1)[index].item() == pytest.approx(expected, rel=1e-4, abs=1e-7)


def test_auxk_reaches_dead_latents_only_and_not_through_the_error() -> None:
    x, dead = some_rows(), [6, 7, 8]
    without, with_auxk = some_objective(auxk_alpha=0.0), some_objective(auxk_alpha=1.0)
    without.backward(x, some_firing(), 0.0)
    firing = some_firing(*dead)
    with_auxk.backward(x, firing, 0.0)
    dead = firing.dead().tolist()
    assert dead
    live = [latent for latent in range(NUM_LATENTS) if latent not in dead]
    for name in ("W_enc", "W_dec", "b_enc"):
        difference = with_auxk.sae.get_parameter(name).grad - without.sae.get_parameter(name).grad
        assert difference[live].abs().max() == 0
        assert difference[dead].abs().max() > 0


def test_auxk_sees_who_fired_in_this_very_batch() -> None:
    objective, x = some_objective(k=NUM_LATENTS), some_rows()
    firing = some_firing(*range(NUM_LATENTS))
    assert objective.backward(x, firing, 0.0).losses["auxk"] == 0
    assert firing.dead().tolist() == []


def test_perfect_reconstruction_leaves_auxk_at_zero() -> None:
    objective = some_objective()
    with torch.no_grad():
        objective.sae.W_enc.zero_()
        objective.sae.b_enc.fill_(-1)
    x = objective.sae.b_dec.detach().expand(ROWS, D_IN).clone()
    result = objective.backward(x, some_firing(1, 2), 0.0)
    assert result.losses == {"loss": 0.0, "mse": 0.0, "auxk": 0.0}
    assert all(gradient.isfinite().all() for gradient in gradients(objective).values())


def test_an_activation_too_small_does_not_keep_a_latent_alive() -> None:
    objective = some_objective(k=1)
    with torch.no_grad():
        objective.sae.W_enc.zero_()
        objective.sae.b_enc.fill_(-1)
        objective.sae.b_enc[3] = FIRED_ABOVE / 2
    firing = some_firing()
    assert objective.backward(some_rows(), firing, 0.0).l0 == 1
    assert firing.tokens_since_fired[3] == ROWS
    with torch.no_grad():
        objective.sae.b_enc[3] = FIRED_ABOVE * 2
    objective.backward(some_rows(), firing, 0.0)
    assert firing.tokens_since_fired[3] == 0


def test_gradient_is_projected_and_directions_stay_unit() -> None:
    config = TopKConfig(name="t", architecture="topk", num_latents=NUM_LATENTS, k=4, batch_rows=ROWS, lr=0.1)
    trainer = Trainer(config, {"h": D_IN}, seed=0, total_rows=1000)
    W_dec = trainer.sae.W_dec
    for step in range(5):
        trainer._step(some_rows(step, torch.float32))
        assert (W_dec.norm(dim=1) - 1).abs().max() < 1e-5
        trainer.objective.backward(some_rows(step, torch.float32), trainer.firing, 0.0)
        trainer.objective.constrain_gradients()
        assert W_dec.grad is not None
        assert (W_dec.grad * W_dec).sum(1).abs().max() < 1e-6


def test_starts_with_the_decoder_as_the_normed_encoder_and_the_bias_at_the_median() -> None:
    config = TopKConfig(name="t", architecture="topk", num_latents=NUM_LATENTS, k=4)
    objective = make_objective(config, (D_IN,), 0)
    sae = objective.sae
    assert_close(sae.W_dec.detach(), torch.nn.functional.normalize(sae.W_enc.detach(), dim=1))
    assert sae.b_enc.abs().max() == 0
    rows = 5 + torch.randn(4000, D_IN)
    objective.start(rows)
    assert_close(sae.b_dec.detach(), rows.mean(0), atol=0.05, rtol=0)
    assert objective.get_buffer("mse_scale").item() == pytest.approx(
        1 / rows.var(0, correction=0).mean().item(), rel=1e-4
    )


def test_defaults_follow_the_sizes() -> None:
    objective = some_objective(num_latents=2**12)
    assert objective.peak_lr == pytest.approx(4e-4)
    assert [nearest_power_of_two(d_in / 2) for d_in in (1, 16, 256, 768, 4096)] == [1, 8, 128, 512, 2048]


def test_encode_gives_the_k_largest() -> None:
    objective, x = some_objective(), some_rows()
    acts = objective.sae.encode(x)
    assert acts.shape == (ROWS, NUM_LATENTS)
    assert ((acts > 0).sum(1) <= 4).all()
    assert_close(objective.sae(x.view(10, 10, D_IN)), objective.sae(x).view(10, 10, D_IN))
