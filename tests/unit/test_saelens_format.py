import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.testing import assert_close

from shared.active_configs import TopKConfig
from shared.errors import UserError
from shared.penalty_configs import ReluL1Config
from shared.row_table import Rows
from shared.trainer_configs import AnyTrainer
from tests.trainer_samples import SAMPLES
from trainers import SaeFacts, Trainer, activation_scale, load_sae, read_facts
from trainers.row_norm import normalised

D_IN, SCALE_OF_ROWS = 24, 30.0
TOPK = TopKConfig(name="t", architecture="topk", num_latents=96, k=5, batch_rows=128, lr=1e-2)
RELU_L1 = ReluL1Config(name="r", architecture="relu_l1", num_latents=96, batch_rows=128, lr=1e-2)
WIDER = {"num_latents": 96, "batch_rows": 128, "lr": 1e-2}
ALL = {name: one.model_copy(update=WIDER) for name, one in SAMPLES.items()} | {"topk": TOPK, "relu_l1": RELU_L1}
EVERY = pytest.mark.parametrize("config", ALL.values(), ids=ALL.keys())
THEIRS = [name for name in ALL if name != "kl"]
SHARED = pytest.mark.parametrize("config", [ALL[name] for name in THEIRS], ids=THEIRS)
"""Architectures that SAELens has too."""
FACTS = SaeFacts(
    "openai-community/gpt2",
    ("transformer.h.8",),
    ("transformer.h.8",),
    128,
    "data/*.parquet",
    True,
    False,
    {"tokens": 1000},
)


def raw_rows(seed: int = 0) -> np.ndarray:
    """Rows with a large mean, far from the scale that trainers work in."""
    return (SCALE_OF_ROWS * (1 + np.random.default_rng(seed).standard_normal((1000, D_IN)))).astype(np.float32)


def trained(config: AnyTrainer) -> Trainer:
    trainer = Trainer(config, {"h": D_IN}, seed=0, total_rows=3000)
    trainer.fix_scales({"h": activation_scale(torch.from_numpy(raw_rows()))})
    for block in range(3):
        trainer.read(block, Rows(np.zeros((1000, 5), np.int32), {"h": raw_rows(block)}))
    return trainer


def expected_recon(trainer: Trainer, raw: Tensor) -> Tensor:
    return trainer.sae(raw * trainer.scales["h"]).detach() / trainer.scales["h"]


@EVERY
def test_a_saved_sae_reconstructs_raw_rows_as_the_trainer_did(config: AnyTrainer, tmp_path: Path) -> None:
    trainer, raw = trained(config), torch.from_numpy(raw_rows(9))
    trainer.save_sae(tmp_path / "sae", FACTS)
    sae = load_sae(tmp_path / "sae")
    with torch.no_grad():
        assert_close(sae(raw), expected_recon(trainer, raw), rtol=0, atol=1e-5 * SCALE_OF_ROWS)
        assert not sae.is_homogeneous or (sae.W_dec.norm(dim=1) - 1).abs().max() < 1e-5


@SHARED
@pytest.mark.filterwarnings("ignore")
def test_saelens_computes_the_same_reconstruction_and_latents(config: AnyTrainer, tmp_path: Path) -> None:
    sae_lens = pytest.importorskip("sae_lens")
    trainer, raw = trained(config), torch.from_numpy(raw_rows(9))
    trainer.save_sae(tmp_path / "sae", FACTS)
    theirs, ours = sae_lens.SAE.load_from_disk(tmp_path / "sae"), load_sae(tmp_path / "sae")
    with torch.no_grad():
        assert_close(theirs(raw), expected_recon(trainer, raw), rtol=0, atol=1e-5 * SCALE_OF_ROWS)
        assert_close(theirs.encode(raw), ours.encode(raw), rtol=0, atol=1e-5 * SCALE_OF_ROWS)
        assert (theirs.encode(raw) > 0).any()
    metadata = theirs.cfg.metadata
    assert metadata.model_name == "openai-community/gpt2"
    assert metadata.hook_name == "blocks.8.hook_resid_post"
    assert metadata.hf_hook_name == "transformer.h.8"
    assert metadata.headrace["tokens"] == 1000 and read_facts(tmp_path / "sae").inputs == ("transformer.h.8",)


@SHARED
@pytest.mark.parametrize("normalize", ["token_norm", "layer_norm"])
@pytest.mark.filterwarnings("ignore")
def test_saelens_normalises_each_row_as_training_did(config: AnyTrainer, normalize: str, tmp_path: Path) -> None:
    sae_lens = pytest.importorskip("sae_lens")
    trainer = Trainer(config.model_copy(update={"normalize": normalize}), {"h": D_IN}, seed=0, total_rows=3000)
    trainer.fix_scales({"h": 1.0})
    for block in range(2):
        trainer.read(block, Rows(np.zeros((1000, 5), np.int32), {"h": raw_rows(block)}))
    trainer.save_sae(tmp_path / "sae", FACTS)
    theirs, raw = sae_lens.SAE.load_from_disk(tmp_path / "sae"), torch.from_numpy(raw_rows(9))
    rows, norm = normalised(raw, normalize)
    with torch.no_grad():
        assert_close(theirs.encode(raw), load_sae(tmp_path / "sae").encode(raw), rtol=0, atol=1e-5)
        assert_close(theirs(raw), norm.undo(trainer.sae(rows)), rtol=0, atol=1e-5 * SCALE_OF_ROWS)
        assert_close(theirs(raw), load_sae(tmp_path / "sae")(raw), rtol=0, atol=1e-5 * SCALE_OF_ROWS)
        assert (theirs.encode(raw) > 0).any()


def test_topk_activations_are_in_units_of_raw_rows(tmp_path: Path) -> None:
    trainer, raw = trained(TOPK), torch.from_numpy(raw_rows(9))
    trainer.save_sae(tmp_path / "sae", FACTS)
    with torch.no_grad():
        scaled_acts = trainer.sae.encode(raw * trainer.scales["h"])
        assert_close(load_sae(tmp_path / "sae").encode(raw), scaled_acts / trainer.scales["h"], rtol=1e-4, atol=1e-3)


def test_firing_frequencies_and_metrics_lie_beside_the_weights(tmp_path: Path) -> None:
    trainer = trained(TOPK)
    trainer.save_sae(tmp_path / "sae", FACTS)
    sparsity = load_file(tmp_path / "sae" / "sparsity.safetensors")["sparsity"]
    assert sparsity.shape == (96,)
    assert (10**sparsity).sum().item() == pytest.approx(5, rel=0.1)
    metrics = json.loads((tmp_path / "sae" / "metrics.json").read_text())
    assert metrics["l0"] == pytest.approx(5, rel=0.1)
    assert metrics["tokens"] == 3000


def test_weights_have_saelens_names_shapes_and_dtype(tmp_path: Path) -> None:
    trained(RELU_L1).save_sae(tmp_path / "sae", FACTS)
    tensors = load_file(tmp_path / "sae" / "sae_weights.safetensors")
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    assert shapes == {"W_enc": (D_IN, 96), "W_dec": (96, D_IN), "b_enc": (96,), "b_dec": (D_IN,)}
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float32}


@pytest.mark.parametrize("file", ["cfg.json", "sae_weights.safetensors"])
@pytest.mark.parametrize("damage", ["cut", "remove"])
def test_a_damaged_folder_is_refused_with_a_sentence(file: str, damage: str, tmp_path: Path) -> None:
    trained(TOPK).save_sae(tmp_path / "sae", FACTS)
    path = tmp_path / "sae" / file
    if damage == "remove":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match=file):
        load_sae(tmp_path / "sae")


def test_a_bit_that_has_turned_over_in_the_weights_is_found(tmp_path: Path) -> None:
    trained(TOPK).save_sae(tmp_path / "sae", FACTS)
    path = tmp_path / "sae" / "sae_weights.safetensors"
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)
    with pytest.raises(
        UserError, match=r"sae_weights\.safetensors is damaged: its checksum is not the one in cfg\.json"
    ):
        load_sae(tmp_path / "sae")


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("architecture", "temporal", "does not read: temporal"),
        ("normalize_activations", "covariance_whitening", "normalize_activations 'covariance_whitening'"),
        ("d_sae", 95, "cfg.json has d_in and d_sae"),
    ],
)
def test_an_sae_that_would_be_computed_wrongly_is_refused(key: str, value: object, words: str, tmp_path: Path) -> None:
    trained(TOPK).save_sae(tmp_path / "sae", FACTS)
    path = tmp_path / "sae" / "cfg.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    with pytest.raises(UserError, match=words):
        load_sae(tmp_path / "sae")
