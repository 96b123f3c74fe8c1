import pytest

from trainers.hook_names import hookpoint_of_lens_name, sparsify_name, transformer_lens_name


@pytest.mark.parametrize(
    ("hookpoint", "name"),
    [
        ("transformer.h.8", "blocks.8.hook_resid_post"),
        ("model.layers.12", "blocks.12.hook_resid_post"),
        ("h.8", "blocks.8.hook_resid_post"),
        ("layers.10.mlp", "blocks.10.hook_mlp_out"),
        ("gpt_neox.layers.3:in", "blocks.3.hook_resid_pre"),
        ("transformer.h.0.mlp", "blocks.0.hook_mlp_out"),
        ("model.layers.1.self_attn", "blocks.1.hook_attn_out"),
        ("transformer.h.0.mlp:in", None),
        ("transformer.h.0.ln_1", None),
        ("encoder.layer.3", None),
    ],
)
def test_hookpoints_have_their_transformer_lens_names(hookpoint: str, name: str | None) -> None:
    assert transformer_lens_name(hookpoint) == name


@pytest.mark.parametrize(
    ("name", "model_name", "hookpoint"),
    [
        ("blocks.8.hook_resid_pre", "gpt2-small", "transformer.h.8:in"),
        ("blocks.0.hook_resid_post", "EleutherAI/pythia-70m", "gpt_neox.layers.0"),
        ("blocks.12.hook_mlp_out", "google/gemma-2-2b", "model.layers.12.mlp"),
        ("blocks.3.hook_attn_out", "meta-llama/Llama-3.2-1B", "model.layers.3.self_attn"),
        ("blocks.3.attn.hook_z", "gpt2", "transformer.h.3.attn.c_proj:in"),
        ("blocks.3.hook_resid_mid", "gpt2", None),
        ("hook_embed", "gpt2", None),
        ("blocks.3.hook_resid_pre", "somebody/my-model", None),
    ],
)
def test_transformer_lens_names_have_their_hookpoints(name: str, model_name: str, hookpoint: str | None) -> None:
    assert hookpoint_of_lens_name(name, model_name) == hookpoint


@pytest.mark.parametrize(
    ("hookpoint", "name"),
    [
        ("transformer.h.8", "h.8"),
        ("model.layers.12.mlp", "layers.12.mlp"),
        ("gpt_neox.layers.3:in", "layers.2"),
        ("layers.3", "layers.3"),
        ("gpt_neox.layers.0:in", None),
        ("transformer.h.0.mlp:in", None),
    ],
)
def test_hookpoints_have_their_names_in_sparsify(hookpoint: str, name: str | None) -> None:
    assert sparsify_name(hookpoint) == name
