import json
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from shared.errors import UserError
from shared.trainer_config import TranscoderConfig
from tests.paired_samples import D_IN, D_OUT, Layer, linear, paired_block, paired_trainer, raw_rows, squares
from trainers import SaeFacts, Trainer, load_sae, read_facts
from trainers.architectures import make_objective
from trainers.firing import Firing
from trainers.objective import Objective

NUM_LATENTS, ROWS = 48, 80
KINDS = pytest.mark.parametrize("architecture", ["transcoder", "skip_transcoder"])
ACTIVATIONS = pytest.mark.parametrize("activation", ["topk", "relu_l1"])
FACTS = SaeFacts("org/model", ("model.layers.2.mlp:in",), ("model.layers.2.mlp",), 128, "data/*.parquet")


def config_of(architecture: str, activation: str, **keys: object) -> TranscoderConfig:
    own = {"topk": {"k": 4, "auxk": 8}, "relu_l1": {"l1_coefficient": 0.5}}[activation]
    shared = {"num_latents": NUM_LATENTS, "batch_rows": 70, "lr": 3e-3, "dead_after_tokens": 60}
    raw = {"name": "t", "architecture": architecture, "activation": activation, **shared, **own, **keys}
    return TranscoderConfig.model_validate({**raw, "hookpoint": "into", "target_hookpoint": "out"})


def some_objective(architecture: str, activation: str) -> Objective:
    """With weights that are not zero, and no longer those of the start."""
    objective = make_objective(config_of(architecture, activation), (D_IN, D_OUT), 0)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in objective.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
        for buffer in objective.buffers():
            buffer.fill_(0.7)
    return objective.double()


def some_rows() -> Tensor:
    return torch.randn(ROWS, D_IN + D_OUT, generator=torch.Generator().manual_seed(1)).double()


def naive_loss(objective: Objective, rows: Tensor, dead: Tensor, fraction: float) -> Tensor:
    """The equations as they stand."""
    sae, x, y = objective.sae, rows[:, :D_IN], rows[:, D_IN:]
    pre_acts = x @ sae.W_enc.T + sae.b_enc
    skipped = 0.0 if sae.W_skip is None else x @ sae.W_skip
    if objective.config.activation == "relu_l1":  # type: ignore[union-attr]
        acts = pre_acts.relu()
        penalty = 0.5 * min(1.0, fraction / 0.05) * (acts * sae.W_dec.norm(dim=1)).sum(1)
        return ((y - acts @ sae.W_dec - sae.b_dec - skipped).square().sum(1) + penalty).mean()
    error = y - sparse(pre_acts, 4) @ sae.W_dec - sae.b_dec - skipped
    among_dead = torch.full_like(pre_acts, -torch.inf).index_copy(1, dead, pre_acts[:, dead])
    aux = sparse(among_dead, min(8, len(dead))) @ sae.W_dec
    left = error.detach()
    auxk = (left - aux).square().mean() / (left - left.mean(0)).square().mean()
    return 0.7 * error.square().mean() + auxk / 32


def sparse(pre_acts: Tensor, k: int) -> Tensor:
    values, indices = torch.topk(pre_acts, k)
    return torch.zeros_like(pre_acts).scatter(1, indices, values.relu())


def trained(config: TranscoderConfig, num_blocks: int = 10, layer: Layer = squares) -> Trainer:
    trainer = paired_trainer(config, num_blocks)
    for number in range(num_blocks):
        trainer.read(number, paired_block(number, layer))
    return trainer


@KINDS
@ACTIVATIONS
@pytest.mark.parametrize("fraction", [0.02, 1.0])
def test_loss_and_gradients_equal_the_naive_ones(architecture: str, activation: str, fraction: float) -> None:
    objective, x = some_objective(architecture, activation), some_rows()
    firing = Firing(NUM_LATENTS, 1000, 1000)
    firing.tokens_since_fired[:40] = 10_000
    with torch.no_grad():
        objective.sae.b_enc[:20] -= 3
    result = objective.backward(x, firing, fraction)
    assert len(firing.dead())
    loss = naive_loss(objective, x, firing.dead(), fraction)
    assert result.losses["loss"] == pytest.approx(loss.item())
    expected = torch.autograd.grad(loss, list(objective.parameters()))
    assert_close([parameter.grad for parameter in objective.parameters()], list(expected))
    assert torch.equal(result.target, x[:, D_IN:])
    assert_close(result.error, x[:, D_IN:] - objective.sae(x[:, :D_IN]))


@KINDS
@ACTIVATIONS
def test_starts_by_predicting_the_mean_of_what_it_reconstructs(architecture: str, activation: str) -> None:
    trainer = paired_trainer(config_of(architecture, activation))
    trainer.read(0, paired_block(0, num_rows=60))  # fewer than a batch: no step was taken
    sae = trainer.sae
    x, y = (raw_rows(0, name, 60) * trainer.scales[name] for name in ("into", "out"))
    with torch.no_grad():
        assert_close(sae(x), y.mean(0).expand(60, D_OUT))
        assert_close(sae.pre_acts(x).mean(0), torch.zeros(NUM_LATENTS), atol=1e-5, rtol=0)
    assert sae.W_enc.abs().max() <= D_IN**-0.5 and sae.W_dec.abs().max() == 0
    assert (sae.W_skip is not None) == (architecture == "skip_transcoder")


@KINDS
@ACTIVATIONS
def test_resumes_bit_by_bit(architecture: str, activation: str, tmp_path: Path) -> None:
    config = config_of(architecture, activation)
    whole, half = paired_trainer(config), paired_trainer(config)
    half.read(0, paired_block(0))
    half.save(tmp_path / "half")
    again = Trainer.load(tmp_path / "half", config)
    for number in range(3):
        whole.read(number, paired_block(number))
        if number:
            again.read(number, paired_block(number))
    for expected, found in zip(whole.objective.parameters(), again.objective.parameters(), strict=True):
        assert torch.equal(expected, found)


@KINDS
@ACTIVATIONS
def test_learns_what_is_no_linear_function_of_the_input(architecture: str, activation: str) -> None:
    fvu = trained(config_of(architecture, activation, lr=1e-2)).report().fvu
    assert fvu is not None and fvu < 0.4


@ACTIVATIONS
def test_a_linear_layer_is_learnt_by_the_skip_alone(activation: str) -> None:
    plain, skip = (
        trained(config_of(architecture, activation, lr=1e-2), layer=linear)
        for architecture in ("transcoder", "skip_transcoder")
    )
    assert plain.report().fvu > 5 * skip.report().fvu and skip.report().fvu < 0.05  # type: ignore[operator]
    x, y = (torch.from_numpy(paired_block(50, linear).activations[name]) for name in ("into", "out"))
    with torch.no_grad():
        unexplained = (y - x @ skip.exported().W_skip).var(0).sum() / y.var(0).sum()  # type: ignore[operator]
    assert unexplained < 0.3


@KINDS
@ACTIVATIONS
@pytest.mark.parametrize("normalize", ["sqrt_d", "unit_mean_square", "none"])
def test_what_is_saved_does_to_raw_rows_what_was_trained(
    architecture: str, activation: str, normalize: str, tmp_path: Path
) -> None:
    trainer = trained(config_of(architecture, activation, normalize=normalize), 3)
    x = raw_rows(9, "into")
    trainer.save_sae(tmp_path / "sae", FACTS)
    sae = load_sae(tmp_path / "sae")
    assert (sae.d_in, sae.d_out) == (D_IN, D_OUT)
    with torch.no_grad():
        scaled = trainer.sae(x * trainer.scales["into"])
        assert_close(sae(x), scaled / trainer.scales["out"], rtol=1e-5, atol=1e-5)
        fired = trainer.sae.encode(x * trainer.scales["into"]) > 0
        assert torch.equal(sae.encode(x) > 0, fired) and fired.any()


@KINDS
@pytest.mark.filterwarnings("ignore")
def test_saelens_computes_the_same_with_relu(architecture: str, tmp_path: Path) -> None:
    sae_lens = pytest.importorskip("sae_lens")
    trained(config_of(architecture, "relu_l1"), 3).save_sae(tmp_path / "sae", FACTS)
    theirs, ours, x = sae_lens.SAE.load_from_disk(tmp_path / "sae"), load_sae(tmp_path / "sae"), raw_rows(9, "into")
    assert theirs.cfg.architecture() == architecture
    with torch.no_grad():
        assert_close(theirs(x), ours(x), rtol=0, atol=1e-5)
        assert_close(theirs.encode(x), ours.encode(x), rtol=0, atol=1e-5)
    assert theirs.cfg.metadata.hook_name == theirs.cfg.metadata.hf_hook_name == "model.layers.2.mlp:in"
    assert theirs.cfg.metadata.hook_name_out == theirs.cfg.metadata.hf_hook_name_out == "model.layers.2.mlp"


@KINDS
@pytest.mark.filterwarnings("ignore")
def test_saelens_refuses_what_it_does_not_have(architecture: str, tmp_path: Path) -> None:
    sae_lens = pytest.importorskip("sae_lens")
    trained(config_of(architecture, "topk"), 1).save_sae(tmp_path / "sae", FACTS)
    with pytest.raises(KeyError, match=f"topk_{architecture}"):
        sae_lens.SAE.load_from_disk(tmp_path / "sae")


@KINDS
@ACTIVATIONS
def test_facts_say_what_is_read_and_what_is_reconstructed(architecture: str, activation: str, tmp_path: Path) -> None:
    trained(config_of(architecture, activation), 1).save_sae(tmp_path / "sae", FACTS)
    facts = read_facts(tmp_path / "sae")
    assert (facts.inputs, facts.targets) == (FACTS.inputs, FACTS.targets)


def test_a_transcoder_that_normalises_rows_is_refused(tmp_path: Path) -> None:
    trained(config_of("transcoder", "relu_l1"), 1).save_sae(tmp_path / "sae", FACTS)
    path = tmp_path / "sae" / "cfg.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "normalize_activations": "layer_norm"}))
    with pytest.raises(UserError, match="a transcoder that normalises rows"):
        load_sae(tmp_path / "sae")
