"""Replacing activations by themselves changes nothing, other positions are left alone, whatever kind of model it is."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import VOCAB_SIZE, tiny_bert, tiny_gpt2, tiny_llama
from torch import Tensor, nn

from producers.hooked_model import HookedModel
from producers.spliced_model import SplicedModel
from shared.config import ModelConfig
from shared.errors import UserError

HOOKPOINTS = {
    "gpt2": (tiny_gpt2, ("transformer.h.0", "transformer.h.1.mlp:in", "transformer.h.1.mlp", "transformer.h.2:in")),
    "llama": (tiny_llama, ("model.layers.0", "model.layers.1.mlp:in", "model.layers.1.mlp", "model.layers.2:in")),
}


@pytest.fixture(scope="module", params=HOOKPOINTS)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> SplicedModel:
    make, hookpoints = HOOKPOINTS[request.param]
    folder = make(tmp_path_factory.mktemp("models") / request.param)
    return SplicedModel.load(ModelConfig(name=str(folder), hookpoints=hookpoints))


def batch() -> tuple[Tensor, Tensor, Tensor]:
    """Four contexts of 12 tokens, the last one short; the first position and one within are not kept."""
    token_ids = torch.randint(5, VOCAB_SIZE, (4, 12), generator=torch.Generator().manual_seed(1))
    mask = torch.ones(4, 12, dtype=torch.bool)
    mask[3, 7:] = False
    kept = mask.clone()
    kept[:, 0] = kept[1, 5] = False
    return token_ids, mask, kept


def plain_logits(model: SplicedModel, token_ids: Tensor, mask: Tensor) -> Tensor:
    with torch.inference_mode():
        return model.model(input_ids=token_ids, attention_mask=mask).logits


def test_a_clean_forward_has_the_rows_of_training_and_the_models_own_logits(model: SplicedModel) -> None:
    token_ids, mask, kept = batch()
    captured = HookedModel(model.model, tuple(model._hookpoints), "a model").capture(token_ids, mask)
    clean = model.clean(token_ids, mask, kept)
    assert list(clean.rows) == list(captured)
    assert all(torch.equal(clean.rows[name], captured[name][kept]) for name in captured)
    assert clean.logits is not None and torch.equal(clean.logits, plain_logits(model, token_ids, mask))


def test_a_reconstruction_and_its_error_together_give_the_clean_logits(model: SplicedModel) -> None:
    inputs = batch()
    clean = model.clean(*inputs)
    assert clean.logits is not None
    for name, x in clean.rows.items():
        recon = x + torch.randn(x.shape, generator=torch.Generator().manual_seed(2))
        spliced = model.spliced(*inputs, {name: recon + (x - recon)})
        torch.testing.assert_close(spliced, clean.logits, rtol=1e-4, atol=1e-5)
        assert not torch.allclose(model.spliced(*inputs, {name: recon}), clean.logits, atol=1e-3)
    together = model.spliced(*inputs, clean.rows)
    torch.testing.assert_close(together, clean.logits, rtol=1e-4, atol=1e-5)


def replacing(module: nn.Module, is_input: bool, change: Callable[[Tensor], Tensor]) -> Any:
    """A hook written by hand, for one kind of module at a time."""
    if is_input:
        return module.register_forward_pre_hook(lambda _, args: (change(args[0]), *args[1:]))
    return module.register_forward_hook(
        lambda _, args, out: (change(out[0]), *out[1:]) if isinstance(out, tuple) else change(out)
    )


def test_only_kept_positions_are_replaced(model: SplicedModel) -> None:
    token_ids, mask, kept = batch()
    for name, x in model.clean(token_ids, mask, kept).rows.items():
        hookpoint = model._hookpoints[name]
        handle = replacing(
            hookpoint.module, hookpoint.is_input, lambda y, x=x: torch.where(kept[..., None], 2 * y + 1, y)
        )
        expected = plain_logits(model, token_ids, mask)
        handle.remove()
        found = model.spliced(token_ids, mask, kept, {name: 2 * x + 1})
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
        assert torch.equal(found[:, 0], plain_logits(model, token_ids, mask)[:, 0])


def test_two_hookpoints_are_replaced_together_by_rows_of_the_clean_forward(model: SplicedModel) -> None:
    token_ids, mask, kept = batch()
    (first, x), *_, (last, y) = model.clean(token_ids, mask, kept).rows.items()
    found = model.spliced(token_ids, mask, kept, {first: torch.zeros_like(x), last: y})
    handles = [
        replacing(
            one.module, one.is_input, lambda full, rows=rows: full.masked_scatter(kept[..., None].expand_as(full), rows)
        )
        for one, rows in ((model._hookpoints[first], torch.zeros_like(x)), (model._hookpoints[last], y))
    ]
    expected = plain_logits(model, token_ids, mask)
    for handle in handles:
        handle.remove()
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_the_model_is_as_before_after_splicing(model: SplicedModel) -> None:
    token_ids, mask, kept = batch()
    before = plain_logits(model, token_ids, mask)
    rows = model.clean(token_ids, mask, kept).rows
    model.spliced(token_ids, mask, kept, {name: torch.zeros_like(x) for name, x in rows.items()})
    assert torch.equal(plain_logits(model, token_ids, mask), before)
    assert torch.equal(next(iter(model.capture(token_ids, mask).values()))[kept], next(iter(rows.values())))


def test_an_encoder_gives_rows_and_says_why_it_has_no_logits(tmp_path: Path) -> None:
    config = ModelConfig(name=str(tiny_bert(tmp_path / "bert")), hookpoints=("encoder.layer.1",))
    model = SplicedModel.load(config)
    assert model.no_logits.endswith("bert is an encoder, which predicts no next token")
    clean = model.clean(*batch())
    assert clean.logits is None and clean.rows["encoder.layer.1"].shape == (int(batch()[2].sum()), 16)


def test_a_model_without_its_head_has_no_logits_and_is_not_given_random_ones(tmp_path: Path) -> None:
    folder = tiny_gpt2(tmp_path / "model", tie_word_embeddings=False)
    weights = load_file(folder / "model.safetensors")
    del weights["lm_head.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    model = SplicedModel.load(ModelConfig(name=str(folder), hookpoints=("transformer.h.1",)))
    assert "lack the head that predicts the next token (lm_head.weight)" in model.no_logits
    assert model.clean(*batch()).logits is None


def test_a_hookpoint_that_a_forward_does_not_reach_is_named(model: SplicedModel) -> None:
    unused = nn.Linear(2, 2)
    model.model.add_module("unused", unused)
    with pytest.raises(UserError, match="a forward does not reach unused"):
        SplicedModel(model.model, ("unused",), "a model").clean(*batch())
