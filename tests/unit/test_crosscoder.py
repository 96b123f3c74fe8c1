import json
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from shared.coder_configs import CrosscoderConfig
from tests.paired_samples import D_IN, D_OUT, paired_block, paired_trainer, raw_rows
from trainers import SaeFacts, Trainer, load_sae, read_facts
from trainers.crosscoder import Crosscoder, ReluCrosscoder
from trainers.firing import Firing
from trainers.objective import Objective

NUM_LATENTS = 48
ACTIVATIONS = pytest.mark.parametrize("activation", ["topk", "relu_l1"])
BOTH = ("model.layers.1", "model.layers.2")
FACTS = SaeFacts("org/model", BOTH, BOTH, 128, "data/*.parquet")
INTO, OUT = slice(0, D_IN), slice(D_IN, None)


def config_of(activation: str, **keys: object) -> CrosscoderConfig:
    own = {"topk": {"k": 4}, "relu_l1": {"l1_coefficient": 1.0}}[activation]
    shared = {"num_latents": NUM_LATENTS, "batch_rows": 70, "lr": 3e-3}
    raw = {"name": "c", "architecture": "crosscoder", "activation": activation, **shared, **own, **keys}
    return CrosscoderConfig.model_validate(raw)


def trained(config: CrosscoderConfig, num_blocks: int) -> Trainer:
    trainer = paired_trainer(config, num_blocks)
    for number in range(num_blocks):
        trainer.read(number, paired_block(number))
    return trainer


def saved(trainer: Trainer, folder: Path) -> Crosscoder:
    trainer.save_sae(folder, FACTS)
    sae = load_sae(folder)
    assert isinstance(sae, Crosscoder)
    return sae


def both(number: int) -> Tensor:
    return torch.cat([raw_rows(number, "into"), raw_rows(number, "out")], dim=1)


def scales_of(trainer: Trainer) -> Tensor:
    return torch.tensor([trainer.scales["into"]] * D_IN + [trainer.scales["out"]] * D_OUT)


def test_relu_starts_with_directions_of_one_norm_in_each_source_the_same_in_both_matrices() -> None:
    sae = paired_trainer(config_of("relu_l1")).sae
    assert isinstance(sae, ReluCrosscoder)
    assert_close(sae.decoder_norms(), torch.full((NUM_LATENTS, 2), 0.08))
    assert torch.equal(sae.W_enc, sae.W_dec) and sae.b_enc.abs().max() == sae.b_dec.abs().max() == 0


def test_topk_starts_as_if_the_encoder_subtracted_the_bias() -> None:
    trainer = paired_trainer(config_of("topk"))
    trainer.read(0, paired_block(0, num_rows=60))  # fewer than a batch: no step was taken
    sae, rows = trainer.sae, both(0)[:60] * scales_of(trainer)
    with torch.no_grad():
        assert_close(sae.pre_acts(rows), (rows - sae.b_dec) @ sae.W_enc.T, rtol=1e-4, atol=1e-4)
    assert not sae.subtracts_b_dec
    assert_close(sae.W_dec.detach().norm(dim=1), torch.ones(NUM_LATENTS))


@ACTIVATIONS
def test_learns_what_both_sources_have_in_common(activation: str) -> None:
    trainer = trained(config_of(activation, lr=1e-2), 10)
    rows = both(50) * scales_of(trainer)
    with torch.no_grad():
        error = rows - trainer.sae(rows)
    for source in (INTO, OUT):
        assert error[:, source].square().sum() < 0.4 * (rows - rows.mean(0))[:, source].square().sum()


@ACTIVATIONS
@pytest.mark.parametrize("normalize", ["sqrt_d", "unit_mean_square", "none"])
def test_what_is_saved_does_to_raw_rows_what_was_trained(activation: str, normalize: str, tmp_path: Path) -> None:
    trainer = trained(config_of(activation, normalize=normalize), 3)
    x, scales = both(9), scales_of(trainer)
    sae = saved(trainer, tmp_path / "sae")
    with torch.no_grad():
        assert_close(sae(x), trainer.sae(x * scales) / scales, rtol=1e-5, atol=1e-5)
        fired = trainer.sae.encode(x * scales) > 0
        assert torch.equal(sae.encode(x) > 0, fired) and fired.any()


@ACTIVATIONS
def test_norms_of_a_saved_one_compare_sources_as_training_scaled_them(activation: str, tmp_path: Path) -> None:
    trainer = trained(config_of(activation), 3)
    before, sae = trainer.sae, saved(trainer, tmp_path / "sae")
    assert isinstance(before, Crosscoder)
    assert before.decoder_norms().shape == (NUM_LATENTS, 2)
    assert_close(before.decoder_norms()[:, 1], before.W_dec.detach()[:, OUT].norm(dim=1))
    assert_close(sae.relative_norms(), before.relative_norms())
    assert sae.source_widths == (D_IN, D_OUT) and sae.source_scales == pytest.approx(tuple(trainer.scales.values()))


def test_relative_norms_are_shares_of_their_sum() -> None:
    sae = ReluCrosscoder(3, 3)
    sae.set_sources((1, 2))
    with torch.no_grad():
        sae.W_dec.copy_(torch.tensor([[1.0, 0, 0], [1.0, 0, 3.0], [0, 0, 0]]))
    assert_close(sae.relative_norms(), torch.tensor([[1.0, 0.0], [0.25, 0.75], [0.0, 0.0]]))


def test_the_penalty_adds_up_norms_so_a_latent_of_one_source_costs_less() -> None:
    """A direction of norm 1, once in one source, once in equal parts in both: there its norms add up to sqrt(2)."""
    objective = paired_trainer(config_of("relu_l1")).objective
    alone, shared = torch.zeros(NUM_LATENTS, D_IN + D_OUT), torch.zeros(NUM_LATENTS, D_IN + D_OUT)
    alone[:, 0], shared[:, 0], shared[:, D_IN] = 1.0, 0.5**0.5, 0.5**0.5
    assert penalty(objective, shared) == pytest.approx(2**0.5 * penalty(objective, alone))


def penalty(objective: Objective, W_dec: Tensor) -> float:
    with torch.no_grad():
        objective.sae.W_dec.copy_(W_dec)
    return objective.backward(both(0), Firing(NUM_LATENTS, 10, 10), 1.0).losses["l1"]


@ACTIVATIONS
@pytest.mark.filterwarnings("ignore")
def test_saelens_refuses_it_by_its_name_and_facts_come_back(activation: str, tmp_path: Path) -> None:
    sae_lens = pytest.importorskip("sae_lens")
    saved(trained(config_of(activation), 1), tmp_path / "sae")
    name = {"topk": "topk_crosscoder", "relu_l1": "crosscoder"}[activation]
    assert json.loads((tmp_path / "sae" / "cfg.json").read_text())["architecture"] == name
    with pytest.raises(KeyError, match=name):
        sae_lens.SAE.load_from_disk(tmp_path / "sae")
    facts = read_facts(tmp_path / "sae")
    assert facts.inputs == facts.targets == BOTH
