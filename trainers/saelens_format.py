"""SAEs on disk in SAELens' format (6.54): `cfg.json` and `sae_weights.safetensors`.

What stands there is for raw rows: constants are folded into the weights, a normalisation of each row by itself is named
in cfg.json as SAELens names it.
"""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from shared.errors import UserError
from shared.files import replace_folder
from trainers.hook_names import transformer_lens_name
from trainers.relu import Relu
from trainers.sae import SparseAutoencoder
from trainers.sae_facts import SaeFacts
from trainers.saelens_variants import plain_config, plain_tensors
from trainers.topk import TopK
from trainers.weight_files import read_json, read_safetensors

CONFIG = "cfg.json"
WEIGHTS = "sae_weights.safetensors"
SPARSITY = "sparsity.safetensors"
METRICS = "metrics.json"
ROW_NORMS = {"none": "none", "token_norm": "constant_norm_rescale", "layer_norm": "layer_norm"}
"""Our names of a row's own normalisation -> SAELens'."""
TRANSPOSED = frozenset({"W_enc", "W_skip"})
"""Tensors that SAELens holds the other way round."""
TRANSCODERS = ("transcoder", "skip_transcoder", "jumprelu_transcoder", "jumprelu_skip_transcoder")
KNOWN = frozenset(("standard", "topk", "jumprelu", "gated", *TRANSCODERS))
"""Architectures that SAELens 6.54 can use after training and that Headrace reads."""
SAELENS_VERSION = "6.54.12"
"""The version whose format this is; without one SAELens takes the folder for a format of 2024."""
NEVER = 1e-10
"""Added to a firing frequency before its logarithm, as SAELens does."""


def save_sae(
    sae: SparseAutoencoder,
    folder: Path,
    facts: SaeFacts,
    metrics: dict[str, Any] | None = None,
    frequencies: Tensor | None = None,
) -> None:
    """Writes an SAE for raw rows as `folder`, with its metrics and how often each latent fires, where that is known."""
    tensors = {name: tensor.contiguous().cpu() for name, tensor in _tensors(sae).items()}
    with replace_folder(folder) as temporary:
        (temporary / CONFIG).write_text(json.dumps(_config(sae, facts, metrics or {}), indent=2), encoding="utf-8")
        save_file(tensors, temporary / WEIGHTS)
        if frequencies is not None:
            save_file({"sparsity": torch.log10(frequencies + NEVER).float().cpu()}, temporary / SPARSITY)
        if metrics is not None:
            (temporary / METRICS).write_text(json.dumps(metrics, indent=2), encoding="utf-8")


def load_sae(folder: str | Path, device: str | torch.device = "cpu") -> SparseAutoencoder:
    """The SAE in a folder of SAELens' format, as float32.

    Raises:
        UserError: a file is missing or damaged, or the architecture is not one of ours; names it.
    """
    folder = Path(folder)
    config = _read_config(folder / CONFIG)
    return make_sae(config, read_safetensors(folder / WEIGHTS), folder).to(device)


def make_sae(config: dict[str, Any], tensors: dict[str, Tensor], folder: Path) -> SparseAutoencoder:
    """The SAE that SAELens' `config` and `tensors` mean; `folder` is for errors."""
    try:
        sae = _empty(config, folder)
        sae.normalize = next(ours for ours, theirs in ROW_NORMS.items() if theirs == _normalize_of(config))
        plain = plain_tensors(config, tensors, folder)
        turned = {name: tensor.T if name in TRANSPOSED else tensor for name, tensor in plain.items()}
        sae.load_state_dict({name: tensor.float() for name, tensor in turned.items()})
    except (KeyError, RuntimeError) as error:
        raise UserError(f"{folder} is damaged: {CONFIG} and {WEIGHTS} do not fit each other ({error})") from error
    return sae


def read_facts(folder: str | Path) -> SaeFacts:
    """Where the SAE in `folder` came from. Raises UserError as `load_sae`; what another's SAE leaves out is empty."""
    metadata = _read_config(Path(folder) / CONFIG).get("metadata") or {}
    headrace = metadata.get("headrace") or {}
    hookpoint = metadata.get("hf_hook_name") or metadata.get("hook_name") or ""
    return SaeFacts(
        model_name=metadata.get("model_name") or "",
        inputs=tuple(headrace.get("inputs") or [hookpoint]),
        targets=tuple(headrace.get("targets") or [metadata.get("hf_hook_name_out") or hookpoint]),
        context_tokens=metadata.get("context_size") or 0,
        dataset=metadata.get("dataset_path") or "",
        prepend_bos=bool(metadata.get("prepend_bos", True)),
        exclude_special_tokens=bool(metadata.get("exclude_special_tokens", False)),
        headrace=headrace,
    )


def _tensors(sae: SparseAutoencoder) -> dict[str, Tensor]:
    """By SAELens' names and in its orientation."""
    tensors = {name: tensor.detach() for name, tensor in sae.state_dict().items()}
    return {name: tensor.T if name in TRANSPOSED else tensor for name, tensor in tensors.items()}


def _config(sae: SparseAutoencoder, facts: SaeFacts, metrics: dict[str, Any]) -> dict[str, Any]:
    return {
        **_architecture(sae),
        "d_in": sae.d_in,
        "d_sae": sae.num_latents,
        "dtype": "float32",
        "device": "cpu",
        "normalize_activations": ROW_NORMS[sae.normalize],
        "reshape_activations": "none",
        "metadata": _metadata(facts, metrics),
    }


def architecture_of(sae: SparseAutoencoder) -> str:
    """SAELens' name of what `sae` computes."""
    return str(_architecture(sae)["architecture"])


def _architecture(sae: SparseAutoencoder) -> dict[str, Any]:
    """What SAELens must know to compute what `sae` computes."""
    if isinstance(sae, TopK):
        return {
            "architecture": "topk",
            "apply_b_dec_to_input": sae.subtracts_b_dec,
            "k": sae.k,
            "rescale_acts_by_decoder_norm": False,
        }
    assert isinstance(sae, Relu), f"no SAELens format for {type(sae).__name__}"
    return {"architecture": "standard", "apply_b_dec_to_input": sae.subtracts_b_dec}


def _metadata(facts: SaeFacts, metrics: dict[str, Any]) -> dict[str, Any]:
    hookpoint = facts.inputs[0]
    lens_name = transformer_lens_name(hookpoint)
    return {
        "sae_lens_version": SAELENS_VERSION,
        "sae_lens_training_version": None,
        "model_name": facts.model_name,
        "model_class_name": "HookedTransformer" if lens_name else "AutoModelForCausalLM",
        "hook_name": lens_name or hookpoint,
        "hook_head_index": None,
        "hf_hook_name": hookpoint,
        "context_size": facts.context_tokens,
        "seqpos_slice": [None],
        "prepend_bos": facts.prepend_bos,
        "model_from_pretrained_kwargs": {},
        "dataset_path": facts.dataset,
        "exclude_special_tokens": facts.exclude_special_tokens,
        "sequence_separator_token": "bos",
        "disable_concat_sequences": False,
        "l0": metrics.get("l0"),
        "headrace": {"inputs": facts.inputs, "targets": facts.targets, **facts.headrace},
    }


def _empty(config: dict[str, Any], folder: Path) -> SparseAutoencoder:
    d_in, num_latents = config["d_in"], config["d_sae"]
    subtracts_b_dec = bool(config.get("apply_b_dec_to_input", True))
    match config["architecture"]:
        case "topk":
            return TopK(d_in, num_latents, config["k"], subtracts_b_dec=subtracts_b_dec)
        case "standard":
            return Relu(d_in, num_latents, subtracts_b_dec=subtracts_b_dec)
        case architecture:
            raise UserError(f"{folder / CONFIG} has an SAE of a kind that Headrace does not read: {architecture}")


def _read_config(path: Path) -> dict[str, Any]:
    config = plain_config(read_json(path), path)
    if _normalize_of(config) not in ROW_NORMS.values():
        raise UserError(
            f"{path} has normalize_activations {config['normalize_activations']!r}; fold it into the weights"
        )
    return config


def _normalize_of(config: dict[str, Any]) -> str:
    return str(config.get("normalize_activations", "none"))
