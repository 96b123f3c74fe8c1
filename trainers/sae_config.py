"""What a cfg.json of SAELens' kind may hold, checked before anything is made by it: types, sizes, and that they fit.

A file that was damaged, or was written by somebody else, must not take memory or name a place for what it is not.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from shared.errors import UserError

Check = Callable[[Any], bool]


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 1


def _is_length(value: Any) -> bool:
    return type(value) is int and value >= 0


def _is_yes_or_no(value: Any) -> bool:
    return isinstance(value, bool)


def _is_section(value: Any) -> bool:
    return isinstance(value, dict)


def _is_normalisation(value: Any) -> bool:
    return isinstance(value, str | bool)


def _are_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _are_counts(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_count, value))


def _are_scales(value: Any) -> bool:
    return isinstance(value, list) and all(type(one) in (int, float) and one > 0 for one in value)


PLACES: dict[str, Check] = {
    "model_name": _is_text,
    "hook_name": _is_text,
    "hook_point": _is_text,
    "hf_hook_name": _is_text,
    "hook_name_out": _is_text,
    "hf_hook_name_out": _is_text,
    "context_size": _is_length,
    "dataset_path": _is_text,
    "prepend_bos": _is_yes_or_no,
    "exclude_special_tokens": _is_yes_or_no,
    "sae_lens_version": _is_text,
}
"""Stand in `metadata`, and before SAELens 6 in cfg.json itself."""
KEYS: dict[str, Check] = {
    **PLACES,
    "architecture": _is_text,
    "d_in": _is_count,
    "d_sae": _is_count,
    "d_out": _is_count,
    "k": _is_count,
    "apply_b_dec_to_input": _is_yes_or_no,
    "normalize_activations": _is_normalisation,
    "activation_fn": _is_text,
    "activation_fn_str": _is_text,
    "activation_fn_kwargs": _is_section,
    "rescale_acts_by_decoder_norm": _is_yes_or_no,
    "source_widths": _are_counts,
    "source_scales": _are_scales,
    "metadata": _is_section,
}
OWN: dict[str, Check] = {"inputs": _are_names, "targets": _are_names}
"""In `metadata.headrace`."""


def check_config(config: Mapping[str, Any], path: Path) -> None:
    """Raises UserError for a key of cfg.json that has a value of another kind than it must; null is as if not there."""
    _check(config, KEYS, "", path)
    metadata = config.get("metadata") or {}
    _check(metadata, {**PLACES, "headrace": _is_section}, "metadata.", path)
    _check(metadata.get("headrace") or {}, OWN, "metadata.headrace.", path)


def check_fit(config: Mapping[str, Any], tensors: Mapping[str, Tensor], folder: Path) -> None:
    """Raises UserError if the sizes in `config` are not those of the weights, so that nothing larger is ever made."""
    sizes = config["d_in"], config["d_sae"]
    found = tuple(tensors["W_enc"].shape)
    if found != sizes:
        raise UserError(f"{folder} is damaged: W_enc is {list(found)}, and cfg.json has d_in and d_sae {list(sizes)}")
    if config.get("d_out") is not None and config["d_out"] != tensors["b_dec"].numel():
        raise UserError(f"{folder} is damaged: b_dec has {tensors['b_dec'].numel()} values, d_out is {config['d_out']}")
    k = config.get("k")
    if "topk" in config["architecture"] and not (k and k <= config["d_sae"]):
        raise UserError(f"{folder} is damaged: k is {k}, and there are {config['d_sae']} latents")
    widths = config.get("source_widths")
    if widths is not None and (sum(widths) != config["d_in"] or len(widths) != len(config["source_scales"])):
        raise UserError(f"{folder} is damaged: source_widths {widths} are not those of {config['d_in']} values")


def _check(section: Mapping[str, Any], checks: Mapping[str, Check], prefix: str, path: Path) -> None:
    for key, is_right in checks.items():
        value = section.get(key)
        if value is not None and not is_right(value):
            raise UserError(f"{path} is damaged: {prefix}{key} cannot be {str(value)[:60]!r}")
