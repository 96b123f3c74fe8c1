from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from shared.penalty_configs import GatedConfig
from tests.sae_folders import FACTS, randomised
from trainers import load_sae
from trainers.architectures import make_objective
from trainers.firing import Firing
from trainers.gated import Gated, GatedObjective
from trainers.saelens_format import save_sae

D_IN, NUM_LATENTS, ROWS = 12, 20, 50


def some_objective(**keys: object) -> GatedObjective:
    keys = {"name": "g", "architecture": "gated", "num_latents": NUM_LATENTS, **keys}
    objective = make_objective(GatedConfig.model_validate(keys), (D_IN,), 0)
    assert isinstance(objective, GatedObjective)
    randomised(objective.sae)
    return objective.double()


def some_rows() -> Tensor:
    return torch.randn(ROWS, D_IN, generator=torch.Generator().manual_seed(1)).double()


def naive_acts(sae: Gated, x: Tensor) -> tuple[Tensor, Tensor]:
    """pi and acts, each path with a matrix of its own."""
    W_mag = sae.r_mag.exp()[:, None] * sae.W_enc
    pi = (x - sae.b_dec) @ sae.W_enc.T + sae.b_gate
    return pi, (pi > 0) * ((x - sae.b_dec) @ W_mag.T + sae.b_mag).relu()


@pytest.mark.parametrize(("fraction", "l1_coefficient"), [(0.0, 0.0), (0.05, 0.35), (1.0, 0.7)])
def test_gradient_is_the_closed_form(fraction: float, l1_coefficient: float) -> None:
    """With G = [acts > 0], P = [pi > 0], e = x - recon, f = x - recon of ReLU(pi):

    m = -2 e W_dec^T on G reaches the magnitudes, p = -2 f W_dec^T + lambda on P the gate; W_dec sees e alone, b_dec
    sees e as the decoder's bias and both paths as the encoder's.
    """
    objective, x = some_objective(l1_coefficient=0.7, l1_warmup_fraction=0.1), some_rows()
    sae, firing = objective.sae, Firing(NUM_LATENTS, 10, 10)
    result = objective.backward(x, firing, fraction)
    with torch.no_grad():
        centred, scale = x - sae.b_dec, sae.r_mag.exp()
        pi, acts = naive_acts(sae, x)
        error = x - (acts @ sae.W_dec + sae.b_dec)
        frozen_error = x - (pi.relu() @ sae.W_dec + sae.b_dec)
        d_mag = (acts > 0) * (-2 * error @ sae.W_dec.T)
        d_pi = (pi > 0) * (-2 * frozen_error @ sae.W_dec.T + l1_coefficient)
        d_shared = d_mag * scale + d_pi
        expected = {
            "W_enc": d_shared.T @ centred / ROWS,
            "W_dec": acts.T @ (-2 * error) / ROWS,
            "b_dec": (-2 * error - d_shared @ sae.W_enc).sum(0) / ROWS,
            "b_gate": d_pi.sum(0) / ROWS,
            "b_mag": d_mag.sum(0) / ROWS,
            "r_mag": (d_mag * scale * (centred @ sae.W_enc.T)).sum(0) / ROWS,
        }
    assert_close({name: one.grad for name, one in sae.named_parameters()}, expected)
    parts = {
        "mse": error.square().sum(1).mean(),
        "l1": pi.relu().sum(1).mean(),
        "aux": frozen_error.square().sum(1).mean(),
    }
    loss = parts["mse"] + l1_coefficient * parts["l1"] + parts["aux"]
    assert result.losses == pytest.approx({"loss": loss.item(), **{name: one.item() for name, one in parts.items()}})
    assert torch.equal(firing.fired, (acts > 0).sum(0))


def test_encodes_by_both_paths() -> None:
    sae, x = some_objective().sae, some_rows()
    pi, acts = naive_acts(sae, x)
    assert ((pi > 0) & (acts == 0)).any() and ((pi <= 0) & (sae.encode(x) == 0)).any()
    assert_close(sae.encode(x), acts)


@pytest.mark.parametrize("subtracts_b_dec", [True, False])
@pytest.mark.filterwarnings("ignore")
def test_saelens_computes_the_same(subtracts_b_dec: bool, tmp_path: Path) -> None:
    sae_lens = pytest.importorskip("sae_lens")
    ours, x = randomised(Gated(D_IN, NUM_LATENTS, subtracts_b_dec)), some_rows().float()
    assert isinstance(ours, Gated)
    save_sae(ours, tmp_path / "sae", FACTS)
    theirs, again = sae_lens.SAE.load_from_disk(tmp_path / "sae"), load_sae(tmp_path / "sae")
    with torch.no_grad():
        assert (ours.encode(x) > 0).any()
        assert_close(theirs.encode(x), ours.encode(x), rtol=0, atol=1e-5)
        assert_close(theirs(x), ours(x), rtol=0, atol=1e-5)
        assert torch.equal(again(x), ours(x))


def test_defaults_are_those_of_the_paper() -> None:
    config = GatedConfig(name="g", architecture="gated", num_latents=8)
    assert (config.adam_betas, config.normalize, config.batch_rows) == ((0.0, 0.999), "unit_mean_square", 4096)
    objective = make_objective(config, (D_IN,), 0)
    assert objective.peak_lr == 3e-4
    assert all(objective.sae.get_parameter(name).abs().max() == 0 for name in ("b_gate", "b_mag", "r_mag", "b_dec"))
    assert torch.equal(objective.sae.W_enc, objective.sae.W_dec)
