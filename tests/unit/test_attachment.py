"""A model with an SAE attached computes what it computes when its activations are replaced by hand."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tiny_models import VOCAB_SIZE, tiny_bert, tiny_gpt2, tiny_llama
from torch import Tensor, nn
from torch.testing import assert_close
from transformers import AutoModel, AutoModelForCausalLM

import features
from shared.errors import UserError
from trainers.crosscoder import TopKCrosscoder
from trainers.topk import TopK

WIDTH, NUM_LATENTS = 16, 48
HOOKPOINTS = {
    "gpt2": ["transformer.h.1", "h.1:in", "transformer.h.1.attn", "transformer.h.1.mlp", "transformer.h.1.mlp:in"],
    "llama": ["model.layers.1", "model.layers.1:in", "model.layers.1.self_attn:in", "layers.1.self_attn"],
    "bert": ["encoder.layer.1", "encoder.layer.1:in", "encoder.layer.1.attention"],
}
EACH = pytest.mark.parametrize(("kind", "hookpoint"), [(kind, one) for kind in HOOKPOINTS for one in HOOKPOINTS[kind]])


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, nn.Module]:
    root = tmp_path_factory.mktemp("models")
    return {
        "gpt2": AutoModelForCausalLM.from_pretrained(tiny_gpt2(root / "gpt2")).eval(),
        "llama": AutoModelForCausalLM.from_pretrained(tiny_llama(root / "llama")).eval(),
        "bert": AutoModel.from_pretrained(tiny_bert(root / "bert")).eval(),
    }


def random_sae(d_in: int = WIDTH, seed: int = 0) -> TopK:
    sae = TopK(d_in, NUM_LATENTS, k=4)
    randomise(sae, seed)
    return sae


def randomise(sae: TopK, seed: int = 0) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in sae.parameters():
            parameter.normal_(0, 0.3, generator=generator)


def token_ids(num_tokens: int = 7) -> Tensor:
    return torch.randint(5, VOCAB_SIZE, (3, num_tokens), generator=torch.Generator().manual_seed(1))


def output_of(model: nn.Module, ids: Tensor) -> Tensor:
    with torch.no_grad():
        return model(ids)[0]


def replaced_by_hand(model: nn.Module, hookpoint: str, ids: Tensor, replace: Callable[[Tensor], Tensor]) -> Tensor:
    """The model's output with plain hooks that know these few models' signatures."""
    path = hookpoint.removesuffix(":in")
    paths = dict(model.named_modules())
    module = paths[path] if path in paths else model.base_model.get_submodule(path)

    def before(_: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
        if args:
            return (replace(args[0]), *args[1:]), kwargs
        return args, {**kwargs, "hidden_states": replace(kwargs["hidden_states"])}

    def after(_: nn.Module, __: tuple, output: object) -> object:
        return (replace(output[0]), *output[1:]) if isinstance(output, tuple) else replace(output)

    is_input = hookpoint.endswith(":in")
    handle = (
        module.register_forward_pre_hook(before, with_kwargs=True) if is_input else module.register_forward_hook(after)
    )
    try:
        return output_of(model, ids)
    finally:
        handle.remove()


@EACH
def test_the_reconstruction_takes_the_place_of_the_activations(
    kind: str, hookpoint: str, models: dict[str, nn.Module]
) -> None:
    model, sae, ids = models[kind], random_sae(), token_ids()
    clean = output_of(model, ids)
    with features.attach(model, sae, hookpoint):
        spliced = output_of(model, ids)
    assert_close(spliced, replaced_by_hand(model, hookpoint, ids, sae), rtol=0, atol=0)
    assert not torch.allclose(spliced, clean, atol=1e-2)
    assert torch.equal(output_of(model, ids), clean)


@EACH
def test_with_the_error_kept_nothing_changes_but_rounding(
    kind: str, hookpoint: str, models: dict[str, nn.Module]
) -> None:
    model, ids = models[kind], token_ids()
    clean = output_of(model, ids)
    with features.attach(model, random_sae(), hookpoint, keep_error=True):
        assert_close(output_of(model, ids), clean, rtol=0, atol=1e-5)


@EACH
def test_acts_are_the_saes_of_what_stands_at_the_hookpoint(
    kind: str, hookpoint: str, models: dict[str, nn.Module]
) -> None:
    model, sae, ids, seen = models[kind], random_sae(), token_ids(), []
    replaced_by_hand(model, hookpoint, ids, lambda x: seen.append(x) or x)
    with features.attach(model, sae, hookpoint, keep_error=True) as attached:
        output_of(model, ids)
    assert attached.acts is not None and attached.acts.shape == (3, 7, NUM_LATENTS)
    assert torch.equal(attached.acts, sae.encode(seen[0]))
    assert (attached.acts > 0).any()


def test_an_edit_with_the_error_kept_adds_its_decoder_direction(models: dict[str, nn.Module]) -> None:
    model, sae, ids = models["gpt2"], random_sae(), token_ids()
    amount = torch.zeros(NUM_LATENTS)
    amount[5] = 3.0
    with features.attach(model, sae, "transformer.h.1", keep_error=True, edit=lambda acts: acts + amount):
        steered = output_of(model, ids)
    by_hand = replaced_by_hand(model, "transformer.h.1", ids, lambda x: x + 3.0 * sae.W_dec[5])
    assert_close(steered, by_hand, rtol=0, atol=1e-5)
    assert not torch.allclose(steered, output_of(model, ids), atol=1e-2)


def test_excluded_positions_stay_as_they_are(models: dict[str, nn.Module]) -> None:
    model, sae, ids = models["gpt2"], random_sae(), token_ids()
    excluded = torch.zeros(3, 7, dtype=torch.bool)
    excluded[:, 0] = excluded[1, 4] = True
    with features.attach(model, sae, "transformer.h.1", excluded=excluded) as attached:
        spliced = output_of(model, ids)
    by_hand = replaced_by_hand(model, "transformer.h.1", ids, lambda x: torch.where(excluded[..., None], x, sae(x)))
    assert_close(spliced, by_hand, rtol=0, atol=0)
    assert attached.acts is not None
    assert not attached.acts[excluded].any() and attached.acts[~excluded].any(-1).all()


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_generation_with_a_cache_is_generation_without(kind: str, models: dict[str, nn.Module]) -> None:
    model, ids = models[kind], token_ids(5)
    excluded = torch.zeros(3, 5, dtype=torch.bool)
    excluded[:, 0] = True
    settings = {"max_new_tokens": 6, "do_sample": False, "pad_token_id": 0, "eos_token_id": None}
    with features.attach(model, random_sae(), HOOKPOINTS[kind][0], excluded=excluded):
        cached = model.generate(ids, attention_mask=torch.ones_like(ids), use_cache=True, **settings)
        plain = model.generate(ids, attention_mask=torch.ones_like(ids), use_cache=False, **settings)
    assert torch.equal(cached, plain)
    assert not torch.equal(cached, model.generate(ids, attention_mask=torch.ones_like(ids), **settings))


def test_a_half_precision_model_keeps_its_dtype(models: dict[str, nn.Module], tmp_path: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_gpt2(tmp_path), dtype=torch.bfloat16).eval()
    ids = token_ids()
    clean = output_of(model, ids)
    with features.attach(model, random_sae(), "transformer.h.1", keep_error=True) as attached:
        kept = output_of(model, ids)
    assert kept.dtype == torch.bfloat16
    assert_close(kept, clean, rtol=0, atol=0.02)
    assert attached.acts is not None and attached.acts.dtype == torch.float32


def test_gradients_reach_the_activations(models: dict[str, nn.Module]) -> None:
    model, sae, ids = models["gpt2"], random_sae(), token_ids()
    with features.attach(model, sae, "transformer.h.1", keep_error=True) as attached:
        logits = model(ids)[0]
    assert attached.acts is not None
    (gradient,) = torch.autograd.grad(logits[0, -1, 7], attached.acts)
    assert gradient[0].abs().sum() > 0 and not gradient[1].any()


def test_detach_takes_every_sae_out_of_that_model(models: dict[str, nn.Module]) -> None:
    model, ids = models["gpt2"], token_ids()
    clean = output_of(model, ids)
    first = features.attach(model, random_sae(), "transformer.h.0")
    second = features.attach(model, random_sae(seed=1), "transformer.h.1.mlp:in")
    both = output_of(model, ids)
    first.detach()
    assert not torch.equal(output_of(model, ids), both) and second.is_attached
    features.detach(model)
    assert torch.equal(output_of(model, ids), clean) and not second.is_attached
    features.detach(model)


def test_leaving_by_an_exception_detaches(models: dict[str, nn.Module]) -> None:
    model, ids = models["gpt2"], token_ids()
    clean = output_of(model, ids)
    with pytest.raises(KeyboardInterrupt), features.attach(model, random_sae(), "transformer.h.1"):
        raise KeyboardInterrupt
    assert torch.equal(output_of(model, ids), clean)


@pytest.mark.parametrize("normalize", ["token_norm", "layer_norm"])
def test_a_normalisation_of_each_row_is_undone(normalize: str, models: dict[str, nn.Module]) -> None:
    model, sae, ids = models["gpt2"], random_sae(), token_ids()
    sae.normalize = normalize
    clean = output_of(model, ids)
    by_hand = replaced_by_hand(model, "transformer.h.1", ids, sae)
    with features.attach(model, sae, "transformer.h.1"):
        assert_close(output_of(model, ids), by_hand, rtol=0, atol=0)
    with features.attach(model, sae, "transformer.h.1", keep_error=True):
        assert_close(output_of(model, ids), clean, rtol=0, atol=1e-5)


@pytest.mark.parametrize("keep_error", [False, True])
def test_a_transcoder_reads_one_hookpoint_and_replaces_another(keep_error: bool, models: dict[str, nn.Module]) -> None:
    model, ids, seen = models["gpt2"], token_ids(), []
    transcoder = TopK(WIDTH, NUM_LATENTS, k=4, d_out=WIDTH, subtracts_b_dec=False)
    transcoder.add_skip()
    randomise(transcoder)
    clean = replaced_by_hand(model, "transformer.h.1.mlp:in", ids, lambda x: seen.append(x) or x)
    with features.attach(
        model, transcoder, "transformer.h.1.mlp:in", keep_error, output="transformer.h.1.mlp"
    ) as attached:
        spliced = output_of(model, ids)
    by_hand = replaced_by_hand(model, "transformer.h.1.mlp", ids, lambda _: transcoder(seen[0]))
    assert_close(spliced, clean if keep_error else by_hand, rtol=0, atol=1e-5 if keep_error else 0)
    assert attached.acts is not None and torch.equal(attached.acts, transcoder.encode(seen[0]))


SEVERAL = ("transformer.h.0", "transformer.h.1")


def random_crosscoder() -> TopKCrosscoder:
    crosscoder = TopKCrosscoder(2 * WIDTH, NUM_LATENTS, k=4, subtracts_b_dec=False)
    crosscoder.set_sources((WIDTH, WIDTH))
    randomise(crosscoder)
    return crosscoder


def both_of(model: nn.Module, ids: Tensor) -> Tensor:
    """What stands at `SEVERAL`, side by side, in the model as it is."""
    with torch.no_grad():
        states = model.transformer(ids, output_hidden_states=True).hidden_states
        seen: list[Tensor] = []
        replaced_by_hand(model, SEVERAL[1], ids, lambda x: seen.append(x) or x)
    return torch.cat([states[1], seen[0]], dim=-1)


@pytest.mark.parametrize("excludes", [False, True])
def test_a_crosscoder_replaces_all_of_its_hookpoints_by_what_it_reads_in_the_model_as_it_is(
    excludes: bool, models: dict[str, nn.Module]
) -> None:
    model, ids, crosscoder = models["gpt2"], token_ids(), random_crosscoder()
    rows, clean = both_of(model, ids), output_of(model, ids)
    excluded = torch.zeros(3, 7, dtype=torch.bool)
    excluded[:, 0] = excludes
    recon = torch.where(excluded[..., None], rows, crosscoder(rows))[..., WIDTH:]
    by_hand = replaced_by_hand(model, SEVERAL[1], ids, lambda y: torch.where(excluded[..., None], y, recon))
    with features.attach(model, crosscoder, SEVERAL, excluded=excluded if excludes else None) as attached:
        spliced = output_of(model, ids)
    if not excludes:
        assert_close(spliced, by_hand, rtol=0, atol=1e-6)
    assert not torch.allclose(spliced, clean, atol=1e-2)
    assert attached.acts is not None
    assert torch.equal(attached.acts, crosscoder.encode(rows).masked_fill(excluded[..., None], 0))
    assert torch.equal(output_of(model, ids), clean)


def test_a_crosscoder_with_the_error_kept_changes_nothing_and_an_edit_adds_its_direction_to_each_hookpoint(
    models: dict[str, nn.Module],
) -> None:
    model, ids, crosscoder = models["gpt2"], token_ids(), random_crosscoder()
    clean = output_of(model, ids)
    with features.attach(model, crosscoder, SEVERAL, keep_error=True) as attached:
        assert_close(output_of(model, ids), clean, rtol=0, atol=1e-5)
        amount = torch.zeros(NUM_LATENTS)
        amount[5] = 3.0
        attached.edit = lambda acts: acts + amount
        steered = output_of(model, ids)
    rows, direction = both_of(model, ids), 3.0 * crosscoder.W_dec.detach()[5]
    by_hand = replaced_by_hand(model, SEVERAL[1], ids, lambda _: (rows + direction)[..., WIDTH:])
    assert_close(steered, by_hand, rtol=0, atol=1e-5)


def test_generation_with_a_crosscoder_is_the_same_with_a_cache_and_without(models: dict[str, nn.Module]) -> None:
    model, ids = models["gpt2"], token_ids(5)
    settings = {"max_new_tokens": 6, "do_sample": False, "pad_token_id": 0, "eos_token_id": None}
    settings["attention_mask"] = torch.ones_like(ids)
    with features.attach(model, random_crosscoder(), SEVERAL):
        cached = model.generate(ids, use_cache=True, **settings)
        plain = model.generate(ids, use_cache=False, **settings)
    assert torch.equal(cached, plain) and not torch.equal(cached, model.generate(ids, **settings))


def test_gradients_reach_a_crosscoders_activations(models: dict[str, nn.Module]) -> None:
    model, ids = models["gpt2"], token_ids()
    with features.attach(model, random_crosscoder(), SEVERAL, keep_error=True) as attached:
        logits = model(ids)[0]
    assert attached.acts is not None
    (gradient,) = torch.autograd.grad(logits[0, -1, 7], attached.acts)
    assert gradient[0].abs().sum() > 0 and not gradient[1].any()


@pytest.mark.parametrize(
    ("hookpoints", "output", "sentence"),
    [
        (SEVERAL, "transformer.h.1", "output is for transcoders, and here are several hookpoints"),
        (("transformer.h.1",), None, "the crosscoder reads 2 hookpoints, and these are 1"),
        ((*SEVERAL, "transformer.ln_f"), None, "the crosscoder reads 2 hookpoints, and these are 3"),
    ],
)
def test_a_crosscoder_that_does_not_fit_is_refused(
    hookpoints: tuple[str, ...], output: str | None, sentence: str, models: dict[str, nn.Module]
) -> None:
    with pytest.raises(UserError, match=sentence):
        features.attach(models["gpt2"], random_crosscoder(), hookpoints, output=output)
    with pytest.raises(UserError, match="several hookpoints are for crosscoders, and this is a TopK"):
        features.attach(models["gpt2"], random_sae(), SEVERAL)


def test_what_does_not_fit_is_refused_with_a_sentence(models: dict[str, nn.Module]) -> None:
    model, ids = models["gpt2"], token_ids()
    with pytest.raises(UserError, match=r"no module 'transformer\.h\.9' in GPT2LMHeadModel; nearest: transformer\.h"):
        features.attach(model, random_sae(), "transformer.h.9")
    with (
        pytest.raises(UserError, match=r"transformer\.h\.1 gives vectors of 16 values and the SAE reads vectors of 24"),
        features.attach(model, random_sae(24), "transformer.h.1"),
    ):
        model(ids)
    with (
        pytest.raises(UserError, match=r"excluded has shape \[2, 7\] and transformer\.h\.1 gives \[3, 7, 16\]"),
        features.attach(model, random_sae(), "transformer.h.1", excluded=torch.zeros(2, 7, dtype=torch.bool)),
    ):
        model(ids)
