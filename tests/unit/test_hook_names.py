import pytest

from trainers.hook_names import transformer_lens_name


@pytest.mark.parametrize(
    ("hookpoint", "name"),
    [
        ("transformer.h.8", "blocks.8.hook_resid_post"),
        ("model.layers.12", "blocks.12.hook_resid_post"),
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
