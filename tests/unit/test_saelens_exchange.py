"""SAELens' own SAEs here, in the forms that its versions save, and ours there."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from sae_folders import D_IN, FACTS, NUM_LATENTS, random_topk, randomised, topk_folder
from safetensors.torch import save_file
from torch import Tensor
from torch.testing import assert_close

from shared.errors import UserError
from trainers import load_sae, read_facts
from trainers.formats import export_sae, import_saes
from trainers.import_options import ImportOptions
from trainers.saelens_exchange import refusal
from trainers.saelens_format import save_sae

pytestmark = pytest.mark.filterwarnings("ignore")
NONE = ImportOptions()
METADATA = {"model_name": "gpt2-small", "hook_name": "blocks.8.hook_resid_pre"}


@pytest.fixture(scope="module")
def sae_lens() -> Any:
    return pytest.importorskip("sae_lens")


def rows() -> Tensor:
    return 2 * torch.randn(64, D_IN, generator=torch.Generator().manual_seed(5)) + 1


def check_same(sae_lens: Any, folder: Path, ours: torch.nn.Module) -> None:
    theirs = sae_lens.SAE.load_from_disk(folder)
    with torch.no_grad():
        assert_close(ours(rows()), theirs(rows()), rtol=0, atol=1e-5)
        assert_close(ours.encode(rows()), theirs.encode(rows()), rtol=0, atol=1e-5)
        assert (ours.encode(rows()) > 0).any()


SAVED: dict[str, Callable[[Any], tuple[Any, Any]]] = {
    "standard": lambda s: (s.StandardSAE, s.StandardSAEConfig(D_IN, NUM_LATENTS)),
    "standard without b_dec": lambda s: (
        s.StandardSAE,
        s.StandardSAEConfig(D_IN, NUM_LATENTS, apply_b_dec_to_input=False),
    ),
    "standard, layer norm": lambda s: (
        s.StandardSAE,
        s.StandardSAEConfig(D_IN, NUM_LATENTS, normalize_activations="layer_norm"),
    ),
    "topk, token norm": lambda s: (
        s.TopKSAE,
        s.TopKSAEConfig(D_IN, NUM_LATENTS, normalize_activations="constant_norm_rescale", k=4),
    ),
    "topk, norms in the choice": lambda s: (
        s.TopKSAE,
        s.TopKSAEConfig(D_IN, NUM_LATENTS, k=4, rescale_acts_by_decoder_norm=True),
    ),
    "gated": lambda s: (s.GatedSAE, s.GatedSAEConfig(D_IN, NUM_LATENTS)),
    "jumprelu": lambda s: (s.JumpReLUSAE, s.JumpReLUSAEConfig(D_IN, NUM_LATENTS)),
    "jumprelu transcoder": lambda s: (
        s.JumpReLUTranscoder,
        s.JumpReLUTranscoderConfig(D_IN, NUM_LATENTS, apply_b_dec_to_input=False, d_out=9),
    ),
    "jumprelu skip transcoder": lambda s: (
        s.JumpReLUSkipTranscoder,
        s.JumpReLUSkipTranscoderConfig(D_IN, NUM_LATENTS, apply_b_dec_to_input=False, d_out=9),
    ),
    "transcoder": lambda s: (s.Transcoder, s.TranscoderConfig(D_IN, NUM_LATENTS, apply_b_dec_to_input=False, d_out=9)),
    "skip transcoder": lambda s: (
        s.SkipTranscoder,
        s.SkipTranscoderConfig(D_IN, NUM_LATENTS, apply_b_dec_to_input=False, d_out=9),
    ),
}


@pytest.mark.parametrize("kind", SAVED)
def test_what_saelens_saves_is_read_and_written_again(kind: str, sae_lens: Any, tmp_path: Path) -> None:
    make, config = SAVED[kind](sae_lens)
    for name, value in METADATA.items():
        setattr(config.metadata, name, value)
    if "transcoder" in kind:
        config.metadata.hook_name_out = "blocks.8.hook_mlp_out"
    randomised(make(config)).save_model(tmp_path / "theirs")
    check_same(sae_lens, tmp_path / "theirs", load_sae(tmp_path / "theirs"))
    (folder,) = import_saes(tmp_path / "theirs", None, tmp_path / "ours", NONE)
    check_same(sae_lens, folder, load_sae(tmp_path / "theirs"))
    assert read_facts(folder).inputs == ("transformer.h.8:in",)
    assert read_facts(folder).targets == (("transformer.h.8.mlp",) if "transcoder" in kind else ("transformer.h.8:in",))
    assert "imported from saelens" in (folder / "README.md").read_text()


@pytest.mark.parametrize("activation", ["relu", "topk"])
def test_a_folder_from_before_version_6_is_read(activation: str, sae_lens: Any, tmp_path: Path) -> None:
    old = {
        "d_in": D_IN,
        "d_sae": NUM_LATENTS,
        "dtype": "float32",
        "activation_fn_str": activation,
        "activation_fn_kwargs": {"k": 4} if activation == "topk" else {},
        "apply_b_dec_to_input": True,
        "normalize_activations": "none",
        "hook_point": "blocks.8.hook_resid_pre",
        "model_name": "gpt2-small",
        "context_size": 128,
    }
    tensors = {name: tensor.detach() for name, tensor in random_topk().state_dict().items()}
    tensors["W_enc"] = tensors["W_enc"].T.contiguous()
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "cfg.json").write_text(json.dumps(old))
    save_file({**tensors, "scaling_factor": torch.ones(NUM_LATENTS)}, tmp_path / "old" / "sae_weights.safetensors")
    save_file({"sparsity": torch.zeros(NUM_LATENTS)}, tmp_path / "old" / "sparsity.safetensors")
    check_same(sae_lens, tmp_path / "old", load_sae(tmp_path / "old"))
    (folder,) = import_saes(tmp_path / "old", None, tmp_path / "ours", NONE)
    check_same(sae_lens, folder, load_sae(tmp_path / "old"))
    assert read_facts(folder).context_tokens == 128 and (folder / "sparsity.safetensors").is_file()


def test_an_exported_sae_is_the_folder_that_saelens_opens(sae_lens: Any, tmp_path: Path) -> None:
    folder = topk_folder(tmp_path / "topk")
    assert export_sae(folder, "saelens", tmp_path / "out") == tmp_path / "out"
    check_same(sae_lens, tmp_path / "out", load_sae(folder))
    assert {path.name for path in folder.iterdir()} | {"README.md"} == {
        path.name for path in (tmp_path / "out").iterdir()
    }


def test_a_place_that_is_no_module_of_the_model_must_be_given(tmp_path: Path) -> None:
    folder = topk_folder(tmp_path / "sae")
    path = folder / "cfg.json"
    config = json.loads(path.read_text())
    config["metadata"] = {**METADATA, "sae_lens_version": "6.0.0", "hook_name": "blocks.8.hook_resid_mid"}
    path.write_text(json.dumps(config))
    with pytest.raises(UserError, match=r"'blocks\.8\.hook_resid_mid', which is no module of gpt2-small: give --hookp"):
        import_saes(folder, None, tmp_path / "ours", NONE)
    (ours,) = import_saes(folder, None, tmp_path / "ours", ImportOptions(hookpoint="transformer.h.8.ln_2:in"))
    assert read_facts(ours).targets == ("transformer.h.8.ln_2:in",)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"architecture": "temporal"}, "does not read: temporal"),
        ({"normalize_activations": "expected_average_only_in"}, "fold it into the weights"),
        ({"metadata": {}, "activation_fn_str": "tanh-relu"}, "does not read: activation_fn tanh-relu"),
    ],
)
def test_what_would_be_computed_wrongly_is_refused(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    folder = topk_folder(tmp_path / "sae")
    config = json.loads((folder / "cfg.json").read_text())
    (folder / "cfg.json").write_text(json.dumps({**config, **changes}))
    with pytest.raises(UserError, match=words):
        import_saes(folder, None, tmp_path / "ours", NONE)


def test_a_scaling_factor_that_does_something_is_refused(tmp_path: Path) -> None:
    folder = topk_folder(tmp_path / "sae")
    tensors = {name: tensor.detach() for name, tensor in load_sae(folder).state_dict().items()}
    tensors |= {"W_enc": tensors["W_enc"].T.contiguous(), "scaling_factor": torch.full((NUM_LATENTS,), 1.1)}
    save_file(tensors, folder / "sae_weights.safetensors")
    config = json.loads((folder / "cfg.json").read_text())
    del config["metadata"]["headrace"]["weights_xxh3"]  # another's SAE has none
    (folder / "cfg.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="finetuning scaling factor"):
        load_sae(folder)


def test_a_transcoder_that_names_no_target_needs_its_module(sae_lens: Any, tmp_path: Path) -> None:
    make, config = SAVED["skip transcoder"](sae_lens)
    config.metadata.model_name, config.metadata.hook_name = "gpt2-small", "blocks.8.hook_resid_pre"
    randomised(make(config)).save_model(tmp_path / "theirs")
    with pytest.raises(UserError, match="no module of gpt2-small: give --hookpoint"):
        import_saes(tmp_path / "theirs", None, tmp_path / "ours", NONE)
    given = ImportOptions(hookpoint="transformer.h.8.mlp")
    (folder,) = import_saes(tmp_path / "theirs", None, tmp_path / "ours", given)
    assert (read_facts(folder).inputs, read_facts(folder).targets) == (
        ("transformer.h.8.mlp:in",),
        ("transformer.h.8.mlp",),
    )
    check_same(sae_lens, folder, load_sae(tmp_path / "theirs"))


def test_a_topk_transcoder_is_refused(tmp_path: Path) -> None:
    sae = random_topk()
    assert refusal(sae, FACTS) is None
    sae.normalize = "layer_norm"
    assert refusal(sae, FACTS) is None
    between = type(FACTS)("gpt2", ("h.1.mlp:in",), ("h.1.mlp",), 64, "")
    save_sae(random_topk(), tmp_path / "sae", between)
    with pytest.raises(UserError, match="cannot be written in saelens's format: SAELens has no topk_transcoder"):
        export_sae(tmp_path / "sae", "saelens", tmp_path / "out")
    assert not (tmp_path / "out").exists()
