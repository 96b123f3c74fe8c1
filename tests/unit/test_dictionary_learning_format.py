"""dictionary_learning's checkpoints against what its dictionary.py and trainers compute, written out here."""

import json
from collections.abc import Callable
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

ALLOWED = ImportOptions(allow_pickle=True)
K = 4
State = dict[str, Any]


def normal(*shape: int, seed: int) -> Tensor:
    return 0.3 * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


LINEAR = {
    "encoder.weight": normal(NUM_LATENTS, D_IN, seed=0),
    "encoder.bias": normal(NUM_LATENTS, seed=1),
    "decoder.weight": normal(D_IN, NUM_LATENTS, seed=2),
}
PARAMETERS = {
    "W_enc": normal(D_IN, NUM_LATENTS, seed=0),
    "b_enc": normal(NUM_LATENTS, seed=1),
    "W_dec": normal(NUM_LATENTS, D_IN, seed=2),
    "b_dec": normal(D_IN, seed=3),
}
BIAS = normal(D_IN, seed=3)
THRESHOLDS = normal(NUM_LATENTS, seed=4)
"""Some of them below zero."""
GATED = {
    "decoder_bias": BIAS,
    "encoder.weight": LINEAR["encoder.weight"],
    "decoder.weight": LINEAR["decoder.weight"],
    "r_mag": normal(NUM_LATENTS, seed=5),
    "gate_bias": normal(NUM_LATENTS, seed=6),
    "mag_bias": normal(NUM_LATENTS, seed=7),
}
BUFFERS = {"k": torch.tensor(K, dtype=torch.int), "threshold": torch.tensor(0.4)}
NEVER_MEASURED = {**BUFFERS, "threshold": torch.tensor(-1.0)}
GROUPS = {"group_sizes": torch.tensor([16, NUM_LATENTS - 16])}


def linear(state: State, x: Tensor) -> Tensor:
    return x @ state["encoder.weight"].T + state["encoder.bias"]


def auto_encoder(state: State, x: Tensor) -> tuple[Tensor, Tensor]:
    f = linear(state, x - state["bias"]).relu()
    return f, f @ state["decoder.weight"].T + state["bias"]


def auto_encoder_new(state: State, x: Tensor) -> tuple[Tensor, Tensor]:
    f = linear(state, x).relu()
    return f, f @ state["decoder.weight"].T + state["decoder.bias"]


def top_k(state: State, x: Tensor) -> tuple[Tensor, Tensor]:
    f = linear(state, x - state["b_dec"]).relu()
    f = torch.where(f >= f.sort(-1, descending=True).values[:, K - 1 : K], f, 0.0)
    return f, f @ state["decoder.weight"].T + state["b_dec"]


def batch_top_k(state: State, x: Tensor) -> tuple[Tensor, Tensor]:
    f = linear(state, x - state["b_dec"]).relu()
    f = f * (f > state["threshold"])
    return f, f @ state["decoder.weight"].T + state["b_dec"]


def matryoshka(state: State, x: Tensor) -> tuple[Tensor, Tensor]:
    f = ((x - state["b_dec"]) @ state["W_enc"] + state["b_enc"]).relu()
    f = f * (f > state["threshold"])
    return f, f @ state["W_dec"] + state["b_dec"]


def jump_relu(state: State, x: Tensor) -> tuple[Tensor, Tensor]:
    z = x @ state["W_enc"] + state["b_enc"]
    f = (z * (z > state["threshold"])).relu()
    return f, f @ state["W_dec"] + state["b_dec"]


def gated(state: State, x: Tensor) -> tuple[Tensor, Tensor]:
    p = (x - state["decoder_bias"]) @ state["encoder.weight"].T
    f = (p + state["gate_bias"] > 0) * (state["r_mag"].exp() * p + state["mag_bias"]).relu()
    return f, f @ state["decoder.weight"].T + state["decoder_bias"]


CASES: dict[str, tuple[str, State, Callable[[State, Tensor], tuple[Tensor, Tensor]]]] = {
    "relu": ("AutoEncoder", {**LINEAR, "bias": BIAS}, auto_encoder),
    "relu new": ("AutoEncoderNew", {**LINEAR, "decoder.bias": BIAS}, auto_encoder_new),
    "relu new, as its trainer calls it": ("AutoEncoder", {**LINEAR, "decoder.bias": BIAS}, auto_encoder_new),
    "topk": ("AutoEncoderTopK", {**LINEAR, **BUFFERS, "b_dec": BIAS}, top_k),
    "gated": ("GatedAutoEncoder", GATED, gated),
    "batch topk": ("BatchTopKSAE", {**LINEAR, **BUFFERS, "b_dec": BIAS}, batch_top_k),
    "batch topk, never measured": ("BatchTopKSAE", {**LINEAR, **NEVER_MEASURED, "b_dec": BIAS}, batch_top_k),
    "matryoshka": ("MatryoshkaBatchTopKSAE", {**PARAMETERS, **BUFFERS, **GROUPS}, matryoshka),
    "jumprelu": ("JumpReluAutoEncoder", {**PARAMETERS, "threshold": THRESHOLDS}, jump_relu),
}


def rows() -> Tensor:
    return 2 * torch.randn(64, D_IN, generator=torch.Generator().manual_seed(5)) + 1


def checkpoint(folder: Path, kind: str, state: State, **changes: Any) -> Path:
    folder.mkdir(parents=True)
    trainer = {"dict_class": kind, "layer": 8, "lm_name": "EleutherAI/pythia-70m-deduped", "k": K}
    config = {"trainer": {**trainer, **changes}, "buffer": {"ctx_len": 128, "io": "out"}}
    (folder / "config.json").write_text(json.dumps(config))
    torch.save(state, folder / "ae.pt")
    return folder


@pytest.mark.parametrize("case", CASES)
def test_a_checkpoint_computes_what_their_class_computes(case: str, tmp_path: Path) -> None:
    kind, state, compute = CASES[case]
    (folder,) = import_saes(checkpoint(tmp_path / "theirs", kind, state), None, tmp_path / "ours", ALLOWED)
    f, recon = compute(state, rows())
    ours = load_sae(folder)
    with torch.no_grad():
        assert_close(ours.encode(rows()), f, rtol=0, atol=1e-5)
        assert_close(ours(rows()), recon, rtol=0, atol=1e-5)
    assert (f > 0).any() and (f == 0).any()
    facts = read_facts(folder)
    assert facts.targets == ("gpt_neox.layers.8",) and facts.model_name == "EleutherAI/pythia-70m-deduped"
    assert facts.context_tokens == 128


def test_safetensors_need_no_permission(tmp_path: Path) -> None:
    kind, state, compute = CASES["topk"]
    folder = checkpoint(tmp_path / "theirs", kind, state)
    with pytest.raises(UserError, match=r"ae\.pt is a pickle"):
        import_saes(folder, None, tmp_path / "ours", ImportOptions())
    (folder / "ae.pt").unlink()
    save_file(state, folder / "ae.safetensors")
    (ours,) = import_saes(folder, None, tmp_path / "ours", ImportOptions())
    with torch.no_grad():
        assert_close(load_sae(ours)(rows()), compute(state, rows())[1], rtol=0, atol=1e-5)


def test_all_trainers_of_a_run_are_read(tmp_path: Path) -> None:
    for number, case in enumerate(("relu", "topk")):
        checkpoint(tmp_path / "run" / f"trainer_{number}", *CASES[case][:2])
    done = import_saes(tmp_path / "run", None, tmp_path / "ours", ALLOWED)
    assert done == [tmp_path / "ours" / "trainer_0", tmp_path / "ours" / "trainer_1"]


@pytest.mark.parametrize(
    ("changes", "hookpoint"),
    [
        ({"lm_name": "google/gemma-2-2b"}, "model.layers.8"),
        ({"lm_name": "gpt2", "submodule_name": "resid_post_layer_8"}, "transformer.h.8"),
        ({"lm_name": "gpt2", "submodule_name": "mlp_8"}, None),
        ({"lm_name": "somebody/my-model"}, None),
    ],
)
def test_the_hookpoint_is_known_or_asked_for(changes: State, hookpoint: str | None, tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "theirs", *CASES["topk"][:2], **changes)
    if hookpoint is None:
        with pytest.raises(UserError, match="give --hookpoint"):
            import_saes(folder, None, tmp_path / "ours", ALLOWED)
    given = ImportOptions(hookpoint=None if hookpoint else "a.module", allow_pickle=True)
    (ours,) = import_saes(folder, None, tmp_path / "ours", given)
    assert read_facts(ours).targets == (hookpoint or "a.module",)


@pytest.mark.parametrize(
    ("kind", "state", "words"),
    [
        ("IdentityDict", {}, "trainer.dict_class must be one of AutoEncoder, .*, got 'IdentityDict'"),
        ("AutoEncoderTopK", GATED, r"its tensors do not fit trainer\.dict_class, AutoEncoderTopK \('encoder.bias'\)"),
        ("AutoEncoder", {**LINEAR, "bias": torch.zeros(3)}, "do not fit each other"),
    ],
)
def test_other_checkpoints_are_refused(kind: str, state: State, words: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=words):
        import_saes(checkpoint(tmp_path / "theirs", kind, state), None, tmp_path / "ours", ALLOWED)
