"""SAEs on disk in SAELens' format (6.54): `cfg.json` and `sae_weights.safetensors`.

What stands there is for raw rows: constants are folded into the weights, a normalisation of each row by itself is named
in cfg.json as SAELens names it. Where SAELens has no such architecture, the files are the same, and SAELens refuses
them by the architecture's name.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from shared.digest import file_digest
from shared.errors import UserError, one_line
from shared.files import replace_folder
from trainers.crosscoder import Crosscoder, ReluCrosscoder, TopKCrosscoder
from trainers.gated import Gated
from trainers.hook_names import transformer_lens_name
from trainers.jumprelu import JumpReLU
from trainers.kl import Sigmoid
from trainers.relu import Relu
from trainers.sae import SparseAutoencoder
from trainers.sae_config import check_config, check_fit
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
TRANSCODERS = {
    ("standard", False): "transcoder",
    ("standard", True): "skip_transcoder",
    ("topk", False): "topk_transcoder",
    ("topk", True): "topk_skip_transcoder",
    ("jumprelu", False): "jumprelu_transcoder",
    ("jumprelu", True): "jumprelu_skip_transcoder",
}
"""SAELens' name of what is active, and whether there is W_skip -> the transcoder's architecture."""
CROSSCODERS = {"standard": "crosscoder", "topk": "topk_crosscoder"}
"""SAELens' name of what is active -> the crosscoder's architecture."""
OWN_TRANSCODERS = ("topk_transcoder", "topk_skip_transcoder")
KNOWN = frozenset(("standard", "topk", "jumprelu", "gated", *TRANSCODERS.values())).difference(OWN_TRANSCODERS)
"""Architectures that SAELens 6.54 can use after training and that Headrace reads; it refuses others by their names."""
SAELENS_VERSION = "6.54.12"
"""The version whose format this is; without one SAELens takes the folder for a format of 2024."""
CHECKSUM = "weights_xxh3"
"""Among our own facts in the metadata: xxh3_128 of the file of weights."""
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
        save_file(tensors, temporary / WEIGHTS)
        facts = replace(facts, headrace={**facts.headrace, CHECKSUM: file_digest(temporary / WEIGHTS)})
        (temporary / CONFIG).write_text(json.dumps(_config(sae, facts, metrics or {}), indent=2), encoding="utf-8")
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
    _check_weights(config, folder)
    return make_sae(config, read_safetensors(folder / WEIGHTS), folder).to(device)


def _check_weights(config: dict[str, Any], folder: Path) -> None:
    """Against the checksum that an SAE of ours has beside it; others have none."""
    known = ((config.get("metadata") or {}).get("headrace") or {}).get(CHECKSUM)
    if known is not None and (folder / WEIGHTS).is_file() and file_digest(folder / WEIGHTS) != known:
        raise UserError(f"{folder / WEIGHTS} is damaged: its checksum is not the one in {CONFIG}")


def make_sae(config: dict[str, Any], tensors: dict[str, Tensor], folder: Path) -> SparseAutoencoder:
    """The SAE that SAELens' `config` and `tensors` mean; `folder` is for errors."""
    try:
        check_fit(config, tensors, folder)
        sae = _empty(config, folder)
        sae.normalize = next(ours for ours, theirs in ROW_NORMS.items() if theirs == _normalize_of(config))
        plain = plain_tensors(config, tensors, folder)
        turned = {name: tensor.T if name in TRANSPOSED else tensor for name, tensor in plain.items()}
        sae.load_state_dict({name: tensor.float() for name, tensor in turned.items()})
    except (KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise UserError(
            f"{folder} is damaged: {CONFIG} and {WEIGHTS} do not fit each other ({one_line(error)})"
        ) from error
    return sae


def read_facts(folder: str | Path) -> SaeFacts:
    """Where the SAE in `folder` came from. Raises UserError as `load_sae`; what another's SAE leaves out is empty."""
    config = _read_config(Path(folder) / CONFIG)
    metadata = config.get("metadata") or {}
    headrace = metadata.get("headrace") or {}
    hookpoint = metadata.get("hf_hook_name") or metadata.get("hook_name") or ""
    transcodes = config.get("architecture") in TRANSCODERS.values()
    target = metadata.get("hf_hook_name_out") or metadata.get("hook_name_out") or ("" if transcodes else hookpoint)
    return SaeFacts(
        model_name=metadata.get("model_name") or "",
        inputs=tuple(headrace.get("inputs") or [hookpoint]),
        targets=tuple(headrace.get("targets") or [target]),
        context_tokens=metadata.get("context_size") or 0,
        dataset=metadata.get("dataset_path") or "",
        prepend_bos=bool(metadata.get("prepend_bos", True)),
        exclude_special_tokens=bool(metadata.get("exclude_special_tokens", False)),
        headrace={name: value for name, value in headrace.items() if name != CHECKSUM},
    )


def _tensors(sae: SparseAutoencoder) -> dict[str, Tensor]:
    """By SAELens' names and in its orientation."""
    tensors = {name: tensor.detach() for name, tensor in sae.state_dict().items()}
    return {name: tensor.T if name in TRANSPOSED else tensor for name, tensor in tensors.items()}


def _config(sae: SparseAutoencoder, facts: SaeFacts, metrics: dict[str, Any]) -> dict[str, Any]:
    return {
        **_architecture(sae, facts),
        "d_in": sae.d_in,
        "d_sae": sae.num_latents,
        "dtype": "float32",
        "device": "cpu",
        "normalize_activations": ROW_NORMS[sae.normalize],
        "reshape_activations": "none",
        "metadata": _metadata(facts, metrics),
    }


def architecture_of(sae: SparseAutoencoder, facts: SaeFacts) -> str:
    """SAELens' name of what `sae` computes, or one like it where SAELens has none."""
    return str(_architecture(sae, facts)["architecture"])


def _architecture(sae: SparseAutoencoder, facts: SaeFacts) -> dict[str, Any]:
    """What SAELens must know to compute what `sae` computes."""
    known = _kind(sae)
    if isinstance(sae, Crosscoder):
        own = {"source_widths": sae.source_widths, "source_scales": sae.source_scales}
        return {**known, "architecture": CROSSCODERS[known["architecture"]], **own}
    if facts.inputs == facts.targets:
        assert sae.d_in == sae.d_out and sae.W_skip is None, "a transcoder has another target than what it reads"
        return known
    return {**known, "architecture": TRANSCODERS[known["architecture"], sae.W_skip is not None], "d_out": sae.d_out}


def _kind(sae: SparseAutoencoder) -> dict[str, Any]:
    """As `_architecture`, whatever hookpoints it is for."""
    if isinstance(sae, TopK):
        return {
            "architecture": "topk",
            "apply_b_dec_to_input": sae.subtracts_b_dec,
            "k": sae.k,
            "rescale_acts_by_decoder_norm": False,
        }
    if isinstance(sae, Sigmoid):
        return {"architecture": "headrace_kl", "apply_b_dec_to_input": sae.subtracts_b_dec}
    if isinstance(sae, Gated):
        return {"architecture": "gated", "apply_b_dec_to_input": sae.subtracts_b_dec}
    assert isinstance(sae, Relu | JumpReLU), f"no SAELens format for {type(sae).__name__}"
    architecture = "jumprelu" if isinstance(sae, JumpReLU) else "standard"
    return {"architecture": architecture, "apply_b_dec_to_input": sae.subtracts_b_dec}


def _hooks(facts: SaeFacts) -> dict[str, Any]:
    """Where it reads and, for a transcoder, what it reconstructs, by TransformerLens' names where there are any."""
    source, target = (" + ".join(side) for side in (facts.inputs, facts.targets))
    names = {"hook_name": source} if facts.targets == facts.inputs else {"hook_name": source, "hook_name_out": target}
    lens_names = {key: transformer_lens_name(name) for key, name in names.items()}
    are_known = all(lens_names.values())
    return {
        "model_class_name": "HookedTransformer" if are_known else "AutoModelForCausalLM",
        **(lens_names if are_known else names),
        **{f"hf_{key}": name for key, name in names.items()},
    }


def _metadata(facts: SaeFacts, metrics: dict[str, Any]) -> dict[str, Any]:
    return {
        "sae_lens_version": SAELENS_VERSION,
        "sae_lens_training_version": None,
        "model_name": facts.model_name,
        **_hooks(facts),
        "hook_head_index": None,
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
    for (kind, has_skip), architecture in TRANSCODERS.items():
        if config["architecture"] == architecture:
            return _empty_transcoder({**config, "architecture": kind}, has_skip, folder)
    if config["architecture"] in CROSSCODERS.values():
        return _empty_crosscoder(config)
    d_in, num_latents, d_out = config["d_in"], config["d_sae"], config.get("d_out")
    subtracts_b_dec = bool(config.get("apply_b_dec_to_input", True))
    match config["architecture"]:
        case "topk":
            return TopK(d_in, num_latents, config["k"], d_out, subtracts_b_dec)
        case "headrace_kl":
            return Sigmoid(d_in, num_latents, subtracts_b_dec=subtracts_b_dec)
        case "gated":
            return Gated(d_in, num_latents, subtracts_b_dec=subtracts_b_dec)
        case "standard":
            return Relu(d_in, num_latents, d_out, subtracts_b_dec)
        case "jumprelu":
            return JumpReLU(d_in, num_latents, d_out, subtracts_b_dec)
        case architecture:
            raise UserError(f"{folder / CONFIG} has an SAE of a kind that Headrace does not read: {architecture}")


def _empty_transcoder(config: dict[str, Any], has_skip: bool, folder: Path) -> SparseAutoencoder:
    if _normalize_of(config) != "none":
        raise UserError(f"{folder / CONFIG} has a transcoder that normalises rows, which Headrace does not read")
    sae = _empty(config, folder)
    if has_skip:
        sae.add_skip()
    return sae


def _empty_crosscoder(config: dict[str, Any]) -> SparseAutoencoder:
    d_in, num_latents = config["d_in"], config["d_sae"]
    sae: Crosscoder
    if config["architecture"] == CROSSCODERS["topk"]:
        sae = TopKCrosscoder(d_in, num_latents, config["k"], subtracts_b_dec=False)
    else:
        sae = ReluCrosscoder(d_in, num_latents)
    sae.set_sources(tuple(config["source_widths"]), tuple(config["source_scales"]))
    return sae


def _read_config(path: Path) -> dict[str, Any]:
    raw = read_json(path)
    check_config(raw, path)
    config = plain_config(raw, path)
    check_config(config, path)
    if _normalize_of(config) not in ROW_NORMS.values():
        raise UserError(
            f"{path} has normalize_activations {config['normalize_activations']!r}; fold it into the weights"
        )
    return config


def _normalize_of(config: dict[str, Any]) -> str:
    return str(config.get("normalize_activations", "none"))
