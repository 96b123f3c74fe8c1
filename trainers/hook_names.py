"""What other libraries call hookpoints: TransformerLens, which SAELens knows models by, and sparsify."""

import re

from shared.hookpoints import INPUT

BLOCK = re.compile(r"^(?:(?:transformer\.)?h|(?:(?:model|gpt_neox)\.)?layers)\.(\d+)(\.[a-z_]+)?(:in)?$")
LENS_BLOCK = re.compile(r"^blocks\.(\d+)\.(?:attn\.)?(hook_[a-z]+(?:_[a-z]+)*)$")
BASE_MODELS = ("transformer.", "model.", "gpt_neox.")
"""What causal models call the model without its head; names in sparsify begin after that."""
OUTPUTS = {
    "": "hook_resid_post",
    ".mlp": "hook_mlp_out",
    ".attn": "hook_attn_out",
    ".self_attn": "hook_attn_out",
    ".attention": "hook_attn_out",
}
FAMILIES = {
    "gpt2": ("transformer.h", ".attn", ".c_proj"),
    "pythia": ("gpt_neox.layers", ".attention", ".dense"),
    "gemma": ("model.layers", ".self_attn", ".o_proj"),
    "llama": ("model.layers", ".self_attn", ".o_proj"),
    "qwen": ("model.layers", ".self_attn", ".o_proj"),
    "mistral": ("model.layers", ".self_attn", ".o_proj"),
}
"""A word in a model's name -> what `transformers` calls its layers, their attention, and its last product."""


def transformer_lens_name(hookpoint: str) -> str | None:
    """`transformer.h.8` as `blocks.8.hook_resid_post`; None where TransformerLens has no such name."""
    match = BLOCK.match(hookpoint)
    if match is None:
        return None
    layer, part, is_input = match[1], match[2] or "", match[3]
    if is_input:
        return f"blocks.{layer}.hook_resid_pre" if part == "" else None
    return f"blocks.{layer}.{OUTPUTS[part]}" if part in OUTPUTS else None


def hookpoint_of_lens_name(name: str, model_name: str) -> str | None:
    """`blocks.8.hook_resid_post` as `transformer.h.8` for a GPT-2; None for a model or a place not known here."""
    match, family = LENS_BLOCK.match(name), family_of(model_name)
    if match is None or family is None:
        return None
    layers, attention, projection = family
    parts = {
        "hook_resid_pre": INPUT,
        "hook_resid_post": "",
        "hook_mlp_out": ".mlp",
        "hook_attn_out": attention,
        "hook_z": attention + projection + INPUT,
    }
    return f"{layers}.{match[1]}{parts[match[2]]}" if match[2] in parts else None


def family_of(model_name: str) -> tuple[str, str, str] | None:
    """The entry of `FAMILIES` whose word is in a model's name."""
    return next((family for word, family in FAMILIES.items() if word in model_name.lower()), None)


def sparsify_name(hookpoint: str) -> str | None:
    """`transformer.h.8` as `h.8`; None for inputs of modules, but that of a layer is the output of the one before."""
    match = BLOCK.match(hookpoint)
    if match and match[3] and not match[2] and int(match[1]) > 0:
        start = match.start(1)
        hookpoint = f"{hookpoint[:start]}{int(match[1]) - 1}"
    if hookpoint.endswith(INPUT):
        return None
    base = next((base for base in BASE_MODELS if hookpoint.startswith(base)), "")
    return hookpoint.removeprefix(base)
