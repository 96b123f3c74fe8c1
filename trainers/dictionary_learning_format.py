"""Checkpoints of dictionary_learning (0.1): a folder with `ae.pt` and `config.json`; read only.

Which of its classes a checkpoint is of stands in `config.json` and shows in its tensors; both must agree. BatchTopK
and Matryoshka SAEs are, once trained, JumpReLUs with one threshold for all latents, -1 where it was never measured.
What its training divided activations by is folded in already.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from shared.errors import UserError, one_line
from shared.hookpoints import INPUT
from trainers.hook_names import family_of
from trainers.import_options import ImportOptions
from trainers.sae import SparseAutoencoder
from trainers.sae_facts import SaeFacts
from trainers.saelens_format import make_sae
from trainers.weight_files import read_json, read_pickle, read_safetensors

CONFIG = "config.json"
PICKLE, SAFETENSORS = "ae.pt", "ae.safetensors"
State = dict[str, Any]


def recognises(path: Path) -> bool:
    return (path / CONFIG).is_file() and any((path / name).is_file() for name in (PICKLE, SAFETENSORS))


def read(folder: Path, options: ImportOptions) -> tuple[SparseAutoencoder, SaeFacts]:
    """The SAE in a trainer's folder. Raises UserError if it is damaged, needs a permission, or is of another kind."""
    config = read_json(folder / CONFIG)
    trainer, buffer = (_section(config, name) for name in ("trainer", "buffer"))
    kind = trainer.get("dict_class")
    if not isinstance(kind, str) or kind not in KINDS:
        raise UserError(f"{folder / CONFIG}: trainer.dict_class must be one of {', '.join(KINDS)}, got {kind!r}")
    if buffer.get("io") == "in_and_out":
        raise UserError(f"{folder / CONFIG}: buffer.io is in_and_out, and Headrace does not read its transcoders")
    state = _read_state(folder, options)
    try:
        described, tensors = KINDS[kind](state, trainer)
        sizes = {"d_in": tensors["W_enc"].shape[0], "d_sae": tensors["W_enc"].shape[1]}
    except (KeyError, AttributeError, IndexError, TypeError, ValueError, RuntimeError) as error:
        raise UserError(
            f"{folder} is damaged: its tensors do not fit trainer.dict_class, {kind} ({one_line(error)})"
        ) from None
    return make_sae({**described, **sizes}, tensors, folder), _facts(folder, trainer, buffer, options)


def _section(config: State, name: str) -> State:
    section = config.get(name)
    return section if isinstance(section, dict) else {}


def _read_state(folder: Path, options: ImportOptions) -> State:
    if (folder / SAFETENSORS).is_file():
        return dict(read_safetensors(folder / SAFETENSORS))
    return read_pickle(folder / PICKLE, options.allow_pickle)


def _relu(state: State, _: State) -> tuple[State, dict[str, Tensor]]:
    """f = ReLU(encoder(x - bias)); recon = decoder(f) + bias. The class of April 2024 has a decoder.bias instead."""
    if "decoder.bias" in state:
        return _relu_new(state, _)
    return {"architecture": "standard", "apply_b_dec_to_input": True}, _linear(state, b_dec="bias")


def _relu_new(state: State, _: State) -> tuple[State, dict[str, Tensor]]:
    """f = ReLU(encoder(x)); recon = decoder(f)."""
    return {"architecture": "standard", "apply_b_dec_to_input": False}, _linear(state, b_dec="decoder.bias")


def _topk(state: State, trainer: State) -> tuple[State, dict[str, Tensor]]:
    """f = TopK(ReLU(encoder(x - b_dec))); recon = decoder(f) + b_dec."""
    k = int(state["k"]) if "k" in state else trainer["k"]
    return {"architecture": "topk", "apply_b_dec_to_input": True, "k": k}, _linear(state, b_dec="b_dec")


def _batch_topk(state: State, _: State) -> tuple[State, dict[str, Tensor]]:
    """f = g [g > threshold], g = ReLU(encoder(x - b_dec)); recon = decoder(f) + b_dec."""
    tensors = _linear(state, b_dec="b_dec")
    return _jumping(tensors, state["threshold"], True)


def _matryoshka(state: State, _: State) -> tuple[State, dict[str, Tensor]]:
    """As `_batch_topk`, with weights the other way round."""
    return _jumping(_parameters(state), state["threshold"], True)


def _jumprelu(state: State, _: State) -> tuple[State, dict[str, Tensor]]:
    """f = ReLU(z [z > threshold]), z = x W_enc + b_enc; recon = f W_dec + b_dec."""
    return _jumping(_parameters(state), state["threshold"], False)


def _gated(state: State, _: State) -> tuple[State, dict[str, Tensor]]:
    """f = [p + gate_bias > 0] ReLU(exp(r_mag) p + mag_bias), p = encoder(x - decoder_bias); recon with decoder_bias."""
    tensors = {
        "W_enc": state["encoder.weight"].T,
        "W_dec": state["decoder.weight"].T,
        "b_dec": state["decoder_bias"],
        "b_gate": state["gate_bias"],
        "b_mag": state["mag_bias"],
        "r_mag": state["r_mag"],
    }
    return {"architecture": "gated", "apply_b_dec_to_input": True}, tensors


KINDS: dict[str, Callable[[State, State], tuple[State, dict[str, Tensor]]]] = {
    "AutoEncoder": _relu,
    "AutoEncoderNew": _relu_new,
    "AutoEncoderTopK": _topk,
    "BatchTopKSAE": _batch_topk,
    "MatryoshkaBatchTopKSAE": _matryoshka,
    "JumpReluAutoEncoder": _jumprelu,
    "GatedAutoEncoder": _gated,
}
"""dict_class -> from its tensors and its trainer's configuration to SAELens' architecture and tensors."""


def _linear(state: State, b_dec: str) -> dict[str, Tensor]:
    return {
        "W_enc": state["encoder.weight"].T,
        "W_dec": state["decoder.weight"].T,
        "b_enc": state["encoder.bias"],
        "b_dec": state[b_dec],
    }


def _parameters(state: State) -> dict[str, Tensor]:
    return {name: state[name] for name in ("W_enc", "W_dec", "b_enc", "b_dec")}


def _jumping(tensors: dict[str, Tensor], threshold: Tensor, subtracts: bool) -> tuple[State, dict[str, Tensor]]:
    """Below 0 a threshold is without effect, since their ReLU comes beside it."""
    thresholds = torch.broadcast_to(threshold.float(), tensors["b_enc"].shape).clamp(min=0).clone()
    return {"architecture": "jumprelu", "apply_b_dec_to_input": subtracts}, {**tensors, "threshold": thresholds}


def _facts(folder: Path, trainer: State, buffer: State, options: ImportOptions) -> SaeFacts:
    model_name = trainer.get("lm_name")
    known = options.model_name or model_name
    return options.facts(
        folder,
        "dictionary_learning",
        model_name=model_name,
        hookpoint=_hookpoint(known if isinstance(known, str) else "", trainer, buffer),
        context_tokens=buffer.get("ctx_len") or 0,
    )


def _hookpoint(model_name: str, trainer: State, buffer: State) -> str | None:
    """Of the layer's output, which is what its examples hook; other modules have names of the user's own."""
    family, layer, name = family_of(model_name), trainer.get("layer"), trainer.get("submodule_name")
    if family is None or not isinstance(layer, int) or name not in (None, "", f"resid_post_layer_{layer}"):
        return None
    return f"{family[0]}.{layer}" + (INPUT if buffer.get("io") == "in" else "")
