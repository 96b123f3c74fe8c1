"""SAELens' own folders in forms that ours do not have, brought into the form that they have.

Before version 6 everything about the model stood flat in cfg.json, and a TopK was a `standard` SAE with another
activation function. TopKs may choose by z_i ||w_i||: then directions are given norm 1, which leaves the reconstruction
as it is (and the activations too: SAELens divides by the norms only when it decodes).
"""

from pathlib import Path
from typing import Any

import torch
from packaging.version import InvalidVersion, Version
from torch import Tensor

from shared.errors import UserError

RENAMED = {"hook_point": "hook_name", "hook_point_head_index": "hook_head_index", "activation_fn_str": "activation_fn"}
METADATA = (
    "model_name",
    "hook_name",
    "hf_hook_name",
    "hook_name_out",
    "hf_hook_name_out",
    "hook_head_index",
    "context_size",
    "dataset_path",
    "prepend_bos",
    "exclude_special_tokens",
)
NORMALISATIONS_BEFORE_6 = {None: "none", False: "none", True: "expected_average_only_in"}


def plain_config(config: dict[str, Any], path: Path) -> dict[str, Any]:
    """`config` as version 6 would have written it. Raises UserError for an activation function that is not ours."""
    version = config.get("sae_lens_version") or (config.get("metadata") or {}).get("sae_lens_version")
    if version and _version(version, path) >= Version("6.0.0rc0"):
        return config
    config = {RENAMED.get(key, key): value for key, value in config.items()}
    activation = config.get("activation_fn") or "relu"
    if activation not in ("relu", "topk"):
        raise UserError(f"{path} has an SAE of a kind that Headrace does not read: activation_fn {activation}")
    if activation == "topk":
        config |= {"architecture": "topk", "k": (config.get("activation_fn_kwargs") or {}).get("k")}
    normalise = config.get("normalize_activations")
    return {
        "architecture": "standard",
        "apply_b_dec_to_input": True,
        **config,
        "normalize_activations": NORMALISATIONS_BEFORE_6.get(normalise, normalise),
        "metadata": {key: config[key] for key in METADATA if key in config},
    }


def _version(text: str, path: Path) -> Version:
    try:
        return Version(text)
    except InvalidVersion:
        raise UserError(f"{path} is damaged: sae_lens_version cannot be {text[:60]!r}") from None


@torch.no_grad()
def plain_tensors(config: dict[str, Any], tensors: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """`tensors` with everything folded in that version 6 no longer has. Raises UserError for what cannot be."""
    tensors = dict(tensors)
    factor = tensors.pop("scaling_factor", None)
    if factor is not None and not torch.allclose(factor.float(), torch.ones(())):
        raise UserError(f"{path} has a finetuning scaling factor for each latent, which Headrace does not read")
    if config.get("rescale_acts_by_decoder_norm"):
        norms = torch.linalg.vector_norm(tensors["W_dec"].float(), dim=1)
        tensors["W_enc"] = tensors["W_enc"].float() * norms
        tensors["b_enc"] = tensors["b_enc"].float() * norms
        tensors["W_dec"] = tensors["W_dec"].float() / norms.clamp(min=torch.finfo(torch.float32).tiny)[:, None]
    return tensors
