import json
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from shared.coder_configs import TranscoderConfig
from shared.errors import UserError
from tests.paired_samples import D_IN, D_OUT, Layer, linear, paired_block, paired_trainer, raw_rows, squares
from trainers import SaeFacts, Trainer, load_sae, read_facts

NUM_LATENTS = 48
KINDS = pytest.mark.parametrize("architecture", ["transcoder", "skip_transcoder"])
ACTIVATIONS = pytest.mark.parametrize("activation", ["topk", "relu_l1"])
FACTS = SaeFacts("org/model", ("model.layers.2.mlp:in",), ("model.layers.2.mlp",), 128, "data/*.parquet")


def config_of(architecture: str, activation: str, **keys: object) -> TranscoderConfig:
    own = {"topk": {"k": 4, "auxk": 8}, "relu_l1": {"l1_coefficient": 0.5}}[activation]
    shared = {"num_latents": NUM_LATENTS, "batch_rows": 70, "lr": 3e-3, "dead_after_tokens": 60}
    raw = {"name": "t", "architecture": architecture, "activation": activation, **shared, **own, **keys}
    return TranscoderConfig.model_validate({**raw, "hookpoint": "into", "target_hookpoint": "out"})


def trained(config: TranscoderConfig, num_blocks: int = 10, layer: Layer = squares) -> Trainer:
    trainer = paired_trainer(config, num_blocks)
    for number in range(num_blocks):
        trainer.read(number, paired_block(number, layer))
    return trainer


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
