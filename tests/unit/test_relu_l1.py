import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from shared.penalty_configs import ReluL1Config
from trainers.architectures import make_objective
from trainers.codes import SPARSE_BELOW
from trainers.firing import Firing
from trainers.relu_l1 import ReluL1Objective

D_IN, NUM_LATENTS, ROWS = 16, 64, 100


def some_objective(**keys: object) -> ReluL1Objective:
    keys = {"name": "r", "architecture": "relu_l1", "num_latents": NUM_LATENTS, **keys}
    objective = make_objective(ReluL1Config.model_validate(keys), (D_IN,), 0)
    assert isinstance(objective, ReluL1Objective)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in objective.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return objective.double()


def some_rows() -> Tensor:
    return torch.randn(ROWS, D_IN, generator=torch.Generator().manual_seed(1)).double()


def naive_loss(objective: ReluL1Objective, x: Tensor, l1_coefficient: float) -> Tensor:
    sae = objective.sae
    acts = (x @ sae.W_enc.T + sae.b_enc).relu()
    recon = acts @ sae.W_dec + sae.b_dec
    return ((x - recon).square().sum(1) + l1_coefficient * (acts * sae.W_dec.norm(dim=1)).sum(1)).mean()


@pytest.mark.parametrize("b_enc", [0.0, -0.7, -1.5])
@pytest.mark.parametrize(("fraction", "l1_coefficient"), [(0.0, 0.0), (0.05, 1.5), (0.1, 3.0), (1.0, 3.0)])
def test_loss_and_gradients_equal_the_naive_ones(fraction: float, l1_coefficient: float, b_enc: float) -> None:
    objective, x = some_objective(l1_coefficient=3.0, l1_warmup_fraction=0.1), some_rows()
    with torch.no_grad():
        objective.sae.b_enc += b_enc
    result = objective.backward(x, Firing(NUM_LATENTS, 10, 10), fraction)
    loss = naive_loss(objective, x, l1_coefficient)
    assert result.losses["loss"] == pytest.approx(loss.item())
    assert 0 < result.l0 < NUM_LATENTS * {0.0: 1, -0.7: 1 / 8, -1.5: SPARSE_BELOW}[b_enc]
    expected = torch.autograd.grad(loss, list(objective.parameters()))
    assert_close([parameter.grad for parameter in objective.parameters()], list(expected))
    assert_close(result.error, x - objective.sae(x))


def test_counts_who_fired() -> None:
    objective, x, firing = some_objective(), some_rows(), Firing(NUM_LATENTS, 10, 10)
    with torch.no_grad():
        objective.sae.b_enc[5] = -1e6
    result = objective.backward(x, firing, 0.0)
    assert torch.equal(firing.fired, (objective.sae.encode(x) > 0).sum(0))
    assert firing.dead().tolist() == [5]
    assert result.l0 == firing.fired.sum().item() / ROWS


def test_starts_with_short_directions_the_same_in_both_matrices_and_no_biases() -> None:
    sae = make_objective(ReluL1Config(name="r", architecture="relu_l1", num_latents=8), (D_IN,), 0).sae
    assert_close(sae.W_dec.detach().norm(dim=1), torch.full((8,), 0.1))
    assert torch.equal(sae.W_enc, sae.W_dec)
    assert sae.b_enc.abs().max() == sae.b_dec.abs().max() == 0
