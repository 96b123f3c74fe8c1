"""SAEs on disk in SAELens' format (6.54): `cfg.json` and `sae_weights.safetensors`.

The scale s that rows were multiplied by is folded in as Gemma Scope does (arXiv:2408.05147, appendix A): weights stay,
biases are divided by s, and activations are then in units of the raw rows. SAELens' own fold keeps the scaled units.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from shared.errors import UserError
from shared.files import replace_folder
from trainers.hook_names import transformer_lens_name
from trainers.relu_l1 import ReluL1
from trainers.sae import SparseAutoencoder
from trainers.topk import TopK

CONFIG = "cfg.json"
WEIGHTS = "sae_weights.safetensors"
SPARSITY = "sparsity.safetensors"
METRICS = "metrics.json"
SAELENS_VERSION = "6.54.12"
"""The version whose format this is; without one SAELens takes the folder for a format of 2024."""
NEVER = 1e-10
"""Added to a firing frequency before its logarithm, as SAELens does."""


@dataclass(frozen=True)
class SaeFacts:
    """Where an SAE's rows came from; goes into `cfg.json`."""

    model_name: str
    hookpoint: str
    context_tokens: int
    dataset: str
    prepend_bos: bool = True
    exclude_special_tokens: bool = False
    headrace: dict[str, Any] = field(default_factory=dict)
    """Facts of our own: version, tokens, seed, digests …"""


def save_sae(
    sae: SparseAutoencoder, scale: float, folder: Path, facts: SaeFacts, metrics: dict[str, Any], frequencies: Tensor
) -> None:
    """Writes an SAE that was trained on rows times `scale` as `folder`, for raw rows."""
    tensors = {name: tensor.contiguous().cpu() for name, tensor in _folded(sae, scale).items()}
    sparsity = torch.log10(frequencies + NEVER).float().cpu()
    with replace_folder(folder) as temporary:
        (temporary / CONFIG).write_text(json.dumps(_config(sae, facts, metrics), indent=2), encoding="utf-8")
        save_file(tensors, temporary / WEIGHTS)
        save_file({"sparsity": sparsity}, temporary / SPARSITY)
        (temporary / METRICS).write_text(json.dumps(metrics, indent=2), encoding="utf-8")


def load_sae(folder: str | Path, device: str | torch.device = "cpu") -> SparseAutoencoder:
    """The SAE in a folder of SAELens' format, as float32.

    Raises:
        UserError: a file is missing or damaged, or the architecture is not one of ours; names it.
    """
    folder = Path(folder)
    config = _read_config(folder / CONFIG)
    tensors = _read_weights(folder / WEIGHTS)
    try:
        sae = _empty(config, folder)
        tensors["W_enc"] = tensors["W_enc"].T
        sae.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
    except (KeyError, RuntimeError) as error:
        raise UserError(f"{folder} is damaged: {CONFIG} and {WEIGHTS} do not fit each other ({error})") from error
    return sae.to(device)


@torch.no_grad()
def _folded(sae: SparseAutoencoder, scale: float) -> dict[str, Tensor]:
    """SAELens' tensors; where decoder norms are free they are moved into the encoder, so that directions are unit."""
    W_enc, W_dec, b_enc = sae.W_enc.detach(), sae.W_dec.detach(), sae.b_enc.detach()
    if isinstance(sae, ReluL1):
        norms = torch.linalg.vector_norm(W_dec, dim=1).clamp(min=torch.finfo(torch.float32).tiny)
        W_enc, W_dec, b_enc = W_enc * norms[:, None], W_dec / norms[:, None], b_enc * norms
    return {"W_enc": W_enc.T, "W_dec": W_dec, "b_enc": b_enc / scale, "b_dec": sae.b_dec.detach() / scale}


def _config(sae: SparseAutoencoder, facts: SaeFacts, metrics: dict[str, Any]) -> dict[str, Any]:
    return {
        **_architecture(sae),
        "d_in": sae.d_in,
        "d_sae": sae.num_latents,
        "dtype": "float32",
        "device": "cpu",
        "normalize_activations": "none",
        "reshape_activations": "none",
        "metadata": _metadata(facts, metrics),
    }


def _architecture(sae: SparseAutoencoder) -> dict[str, Any]:
    """What SAELens must know to compute what `sae` computes."""
    if isinstance(sae, TopK):
        return {
            "architecture": "topk",
            "apply_b_dec_to_input": True,
            "k": sae.k,
            "rescale_acts_by_decoder_norm": False,
        }
    assert isinstance(sae, ReluL1), f"no SAELens format for {type(sae).__name__}"
    return {"architecture": "standard", "apply_b_dec_to_input": False}


def _metadata(facts: SaeFacts, metrics: dict[str, Any]) -> dict[str, Any]:
    lens_name = transformer_lens_name(facts.hookpoint)
    return {
        "sae_lens_version": SAELENS_VERSION,
        "sae_lens_training_version": None,
        "model_name": facts.model_name,
        "model_class_name": "HookedTransformer" if lens_name else "AutoModelForCausalLM",
        "hook_name": lens_name or facts.hookpoint,
        "hook_head_index": None,
        "hf_hook_name": facts.hookpoint,
        "context_size": facts.context_tokens,
        "seqpos_slice": [None],
        "prepend_bos": facts.prepend_bos,
        "model_from_pretrained_kwargs": {},
        "dataset_path": facts.dataset,
        "exclude_special_tokens": facts.exclude_special_tokens,
        "sequence_separator_token": "bos",
        "disable_concat_sequences": False,
        "l0": metrics.get("l0"),
        "headrace": facts.headrace,
    }


def _empty(config: dict[str, Any], folder: Path) -> SparseAutoencoder:
    d_in, num_latents = config["d_in"], config["d_sae"]
    match config["architecture"], config.get("apply_b_dec_to_input"):
        case "topk", True if not config.get("rescale_acts_by_decoder_norm"):
            return TopK(d_in, num_latents, config["k"])
        case "standard", False:
            return ReluL1(d_in, num_latents)
        case architecture, _:
            raise UserError(f"{folder / CONFIG} has an SAE of a kind that Headrace does not read: {architecture}")


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_bytes())
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    except ValueError:
        raise UserError(f"{path} is damaged: it is not JSON") from None
    if not isinstance(config, dict):
        raise UserError(f"{path} is damaged: it is not a JSON object")
    if config.get("normalize_activations", "none") != "none":
        raise UserError(
            f"{path} has normalize_activations {config['normalize_activations']!r}; fold it into the weights"
        )
    return config


def _read_weights(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from None
    except SafetensorError as error:
        raise UserError(f"{path} is damaged: {error}") from None
