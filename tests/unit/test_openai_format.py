"""openai/sparse_autoencoder's checkpoints against what its model.py computes, written out here."""

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from sae_folders import D_IN, NUM_LATENTS
from safetensors.torch import save_file
from torch import Tensor
from torch.testing import assert_close

from shared.errors import UserError
from trainers import load_sae, read_facts
from trainers.formats import import_saes
from trainers.import_options import ImportOptions

GIVEN = {"model_name": "openai-community/gpt2", "hookpoint": "transformer.h.6"}
OPTIONS = ImportOptions(**GIVEN, allow_pickle=True)
K = 4


def tensors(seed: int = 0, statistics: bool = True) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = {
        "pre_bias": (D_IN,),
        "latent_bias": (NUM_LATENTS,),
        "encoder.weight": (NUM_LATENTS, D_IN),
        "decoder.weight": (D_IN, NUM_LATENTS),
    }
    state = {name: 0.3 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    state["stats_last_nonzero"] = torch.zeros(NUM_LATENTS, dtype=torch.long)
    if statistics:
        state |= {
            "latents_activation_frequency": torch.ones(NUM_LATENTS),
            "latents_mean_square": torch.ones(NUM_LATENTS),
        }
    return state


TOPK = {"activation": "TopK", "activation_state_dict": {"k": K, "postact_fn": "ReLU"}}
RELU = {"activation": "ReLU", "activation_state_dict": {}}


def rows() -> Tensor:
    return 3 * torch.randn(64, D_IN, generator=torch.Generator().manual_seed(5)) + 2


def expected(state: dict[str, Tensor], x: Tensor, activation: str, normalise: bool) -> tuple[Tensor, Tensor]:
    """Latents and reconstruction: (x - mean) / (std + 1e-5) in, * std + mean out, std with n - 1."""
    mean = x.mean(-1, keepdim=True)
    std = (x - mean).std(-1, keepdim=True)
    seen = (x - mean) / (std + 1e-5) if normalise else x
    latents = (seen - state["pre_bias"]) @ state["encoder.weight"].T + state["latent_bias"]
    if activation == "TopK":
        smallest = latents.sort(-1, descending=True).values[:, K - 1 : K]
        latents = torch.where(latents >= smallest, latents, 0.0)
    latents = latents.clamp(min=0)
    recon = latents @ state["decoder.weight"].T + state["pre_bias"]
    return latents, recon * std + mean if normalise else recon


@pytest.mark.parametrize(
    ("extra", "activation", "normalise"), [(TOPK, "TopK", True), (RELU, "ReLU", False), ({}, "ReLU", False)]
)
def test_a_checkpoint_computes_what_their_model_computes(
    extra: dict[str, Any], activation: str, normalise: bool, tmp_path: Path
) -> None:
    state = tensors()
    torch.save({**state, **extra}, tmp_path / "6.pt")
    (folder,) = import_saes(tmp_path / "6.pt", None, tmp_path / "ours", OPTIONS)
    ours = load_sae(folder)
    latents, recon = expected(state, rows(), activation, normalise)
    with torch.no_grad():
        assert_close(ours.encode(rows()), latents, rtol=0, atol=1e-5)
        assert_close(ours(rows()), recon, rtol=0, atol=1e-5)
    assert read_facts(folder).targets == ("transformer.h.6",)
    assert read_facts(folder).headrace["imported_from"] == "openai/sparse_autoencoder"


@pytest.mark.filterwarnings("ignore")
def test_saelens_computes_the_same_from_the_folder(tmp_path: Path) -> None:
    sae_lens = pytest.importorskip("sae_lens")
    state = tensors()
    torch.save({**state, **TOPK}, tmp_path / "6.pt")
    (folder,) = import_saes(tmp_path / "6.pt", None, tmp_path / "ours", OPTIONS)
    with torch.no_grad():
        theirs = sae_lens.SAE.load_from_disk(folder)(rows())
    assert_close(theirs, expected(state, rows(), "TopK", True)[1], rtol=0, atol=1e-5)


def test_a_checkpoint_of_their_training_script_needs_k_and_has_no_normalisation(tmp_path: Path) -> None:
    state = tensors(statistics=False)
    torch.save(state, tmp_path / "fast.pt")
    with pytest.raises(UserError, match=r"fast\.pt does not say how many latents are active: give --k"):
        import_saes(tmp_path / "fast.pt", "openai", tmp_path / "ours", OPTIONS)
    options = ImportOptions(**GIVEN, k=K, allow_pickle=True)
    (folder,) = import_saes(tmp_path / "fast.pt", "openai", tmp_path / "ours", options)
    with torch.no_grad():
        assert_close(load_sae(folder)(rows()), expected(state, rows(), "TopK", False)[1], rtol=0, atol=1e-5)


def test_safetensors_need_no_permission_but_the_activation(tmp_path: Path) -> None:
    state = {name: tensor.contiguous() for name, tensor in tensors().items()}
    save_file(state, tmp_path / "6.safetensors")
    with pytest.raises(UserError, match="does not say its activation"):
        import_saes(tmp_path / "6.safetensors", None, tmp_path / "ours", ImportOptions(**GIVEN))
    (by_k,) = import_saes(tmp_path / "6.safetensors", None, tmp_path / "by_k", ImportOptions(**GIVEN, k=K))
    save_file(state, tmp_path / "said.safetensors", {"activation": "TopK", "k": str(K)})
    (by_header,) = import_saes(tmp_path / "said.safetensors", None, tmp_path / "said", ImportOptions(**GIVEN))
    recon = expected(state, rows(), "TopK", True)[1]
    with torch.no_grad():
        assert_close(load_sae(by_k)(rows()), recon, rtol=0, atol=1e-5)
        assert_close(load_sae(by_header)(rows()), recon, rtol=0, atol=1e-5)


def test_a_tied_decoder_is_the_encoders_transpose(tmp_path: Path) -> None:
    state = tensors()
    tied = {name: tensor for name, tensor in state.items() if name != "decoder.weight"}
    torch.save({**tied, "decoder.linear.weight": state["encoder.weight"], **RELU}, tmp_path / "tied.pt")
    (folder,) = import_saes(tmp_path / "tied.pt", None, tmp_path / "ours", OPTIONS)
    state["decoder.weight"] = state["encoder.weight"].T
    with torch.no_grad():
        assert_close(load_sae(folder)(rows()), expected(state, rows(), "ReLU", False)[1], rtol=0, atol=1e-5)


def test_a_pickle_is_read_only_where_that_is_allowed(tmp_path: Path) -> None:
    torch.save({**tensors(), **TOPK}, tmp_path / "6.pt")
    with pytest.raises(UserError, match=r"6\.pt is a pickle, which can run any code .*--allow-pickle"):
        import_saes(tmp_path / "6.pt", None, tmp_path / "ours", ImportOptions(**GIVEN))


class Trap:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("wrapped", [True, False])
def test_a_pickle_that_runs_code_does_not_run_it(wrapped: bool, tmp_path: Path) -> None:
    trap = {"encoder.weight": Trap(tmp_path / "sprung")}
    if wrapped:
        torch.save(trap, tmp_path / "6.pt")
    else:
        (tmp_path / "6.pt").write_bytes(pickle.dumps(trap))
    with pytest.raises(UserError, match=r"6\.pt is damaged, or holds more than tensors"):
        import_saes(tmp_path / "6.pt", None, tmp_path / "ours", OPTIONS)
    assert not (tmp_path / "sprung").exists() and not (tmp_path / "ours").exists()


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({**tensors(), "activation": "Identity"}, "no SAE with the activation Identity"),
        ({**tensors(), **TOPK, "activation_state_dict": {"k": K, "postact_fn": "Identity"}}, "followed by Identity"),
        ({"weight": torch.ones(3)}, r"not a checkpoint of openai/sparse_autoencoder \('encoder.weight'\)"),
    ],
)
def test_other_checkpoints_are_refused(state: dict[str, Any], words: str, tmp_path: Path) -> None:
    torch.save(state, tmp_path / "6.pt")
    with pytest.raises(UserError, match=words):
        import_saes(tmp_path / "6.pt", None, tmp_path / "ours", OPTIONS)


def test_what_the_file_does_not_say_must_be_given(tmp_path: Path) -> None:
    torch.save({**tensors(), **TOPK}, tmp_path / "6.pt")
    with pytest.raises(UserError, match="which model its SAE is for: give --model"):
        import_saes(tmp_path / "6.pt", None, tmp_path / "ours", ImportOptions(allow_pickle=True))
    with pytest.raises(UserError, match="at which module its SAE was trained: give --hookpoint"):
        import_saes(tmp_path / "6.pt", None, tmp_path / "ours", ImportOptions("gpt2", allow_pickle=True))
