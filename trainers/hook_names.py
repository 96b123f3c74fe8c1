"""TransformerLens' names for hookpoints, which SAELens knows models by."""

import re

BLOCK = re.compile(r"^(?:transformer\.h|model\.layers|gpt_neox\.layers)\.(\d+)(\.[a-z_]+)?(:in)?$")
OUTPUTS = {
    "": "hook_resid_post",
    ".mlp": "hook_mlp_out",
    ".attn": "hook_attn_out",
    ".self_attn": "hook_attn_out",
    ".attention": "hook_attn_out",
}


def transformer_lens_name(hookpoint: str) -> str | None:
    """`transformer.h.8` as `blocks.8.hook_resid_post`; None where TransformerLens has no such name."""
    match = BLOCK.match(hookpoint)
    if match is None:
        return None
    layer, part, is_input = match[1], match[2] or "", match[3]
    if is_input:
        return f"blocks.{layer}.hook_resid_pre" if part == "" else None
    return f"blocks.{layer}.{OUTPUTS[part]}" if part in OUTPUTS else None
