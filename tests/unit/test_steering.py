"""A steered model computes what it computes when decoder directions are added by hand, and nothing else changes."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import VOCAB_SIZE, tiny_gpt2, tiny_llama
from torch import Tensor, nn
from torch.testing import assert_close
from transformers import AutoModelForCausalLM, AutoTokenizer

import features
from features.generation import Sampling, generate, stream
from features.steering import Steering
from shared.errors import UserError
from trainers.relu import Relu
from trainers.topk import TopK

WIDTH, NUM_LATENTS = 16, 48
PLACES = {"gpt2": "transformer.h.1", "llama": "model.layers.1"}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    wide = {"initializer_range": 0.5}
    return {"gpt2": tiny_gpt2(root / "gpt2", **wide), "llama": tiny_llama(root / "llama", **wide)}


@pytest.fixture(scope="module")
def models(folders: dict[str, Path]) -> dict[str, nn.Module]:
    return {kind: AutoModelForCausalLM.from_pretrained(folder).eval() for kind, folder in folders.items()}


@pytest.fixture(scope="module")
def tokenizer(folders: dict[str, Path]) -> Any:
    return AutoTokenizer.from_pretrained(folders["gpt2"])


def random_sae(seed: int = 0, kind: type = TopK) -> Any:
    sae = TopK(WIDTH, NUM_LATENTS, k=4) if kind is TopK else Relu(WIDTH, NUM_LATENTS, subtracts_b_dec=True)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in sae.parameters():
            parameter.normal_(0, 0.3, generator=generator)
    return sae


def token_ids(num_tokens: int = 7) -> Tensor:
    return torch.randint(5, VOCAB_SIZE, (3, num_tokens), generator=torch.Generator().manual_seed(1))


def logits_of(model: nn.Module, ids: Tensor, **more: Any) -> Tensor:
    with torch.no_grad():
        return model(ids, **more).logits


@contextmanager
def changed_by_hand(model: nn.Module, place: str, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    def after(_: nn.Module, __: tuple, output: Any) -> Any:
        return (change(output[0]), *output[1:]) if isinstance(output, tuple) else change(output)

    handle = model.get_submodule(place).register_forward_hook(after)
    try:
        yield
    finally:
        handle.remove()


def seen_at(model: nn.Module, place: str, ids: Tensor) -> Tensor:
    seen: list[Tensor] = []
    with changed_by_hand(model, place, lambda x: seen.append(x.clone()) or x):  # type: ignore[func-returns-value]
        logits_of(model, ids)
    return seen[0]


def liveliest(sae: Any, x: Tensor) -> int:
    """The latent that fires on most rows, but not on all."""
    shares = (sae.encode(x) > 0).float().flatten(0, 1).mean(0)
    return int(torch.where(shares < 0.9, shares, 0).argmax())


MODES: dict[str, Callable[[Tensor], Tensor]] = {
    "add": lambda a: a + 6.0,
    "set": lambda a: torch.full_like(a, 6.0),
    "set_if_active": lambda a: torch.where(a > 0, 6.0, a),
    "scale": lambda a: 3.0 * a,
    "ablate": torch.zeros_like,
}


@pytest.mark.parametrize("kind", PLACES)
@pytest.mark.parametrize("mode", MODES)
def test_each_mode_adds_the_change_times_the_direction(mode: str, kind: str, models: dict[str, nn.Module]) -> None:
    model, sae, ids, place = models[kind], random_sae(), token_ids(), PLACES[kind]
    x = seen_at(model, place, ids)
    latent = liveliest(sae, x)
    a = sae.encode(x)[..., latent]
    assert (a > 0).any() and (a == 0).any()
    gain = (MODES[mode](a) - a)[..., None] * sae.W_dec[latent].detach()
    with features.steer(model, None, [Steering(sae, place, latent, mode, 3.0, unit=2.0)]):  # type: ignore[arg-type]
        steered = logits_of(model, ids)
    with changed_by_hand(model, place, lambda x: x + gain):
        by_hand = logits_of(model, ids)
    assert_close(steered, by_hand, rtol=0, atol=1e-5)
    assert not torch.allclose(steered, logits_of(model, ids), atol=1e-2)


@pytest.mark.parametrize("kind", PLACES)
def test_steering_that_changes_nothing_leaves_the_very_tensor(kind: str, models: dict[str, nn.Module]) -> None:
    model, sae, ids, place = models[kind], random_sae(), token_ids(), PLACES[kind]
    x = seen_at(model, place, ids)
    acts = sae.encode(x)
    silent = int((acts.flatten(0, 1).amax(0) == 0).nonzero()[0])
    idle = [
        Steering(sae, place, 0, "add", 0.0, unit=5.0),
        Steering(sae, place, liveliest(sae, x), "scale", 1.0),
        Steering(sae, place, silent, "ablate"),
        Steering(sae, place, silent, "set", 0.0),
        Steering(sae, place, silent, "set_if_active", 9.0),
    ]
    given: list[Any] = []
    model.get_submodule(place).register_forward_hook(lambda _, __, output: given.append(output))
    with features.steer(model, None, idle):
        taken: list[Any] = []
        handle = model.get_submodule(place).register_forward_hook(lambda _, __, output: taken.append(output))
        steered = logits_of(model, ids)
        handle.remove()
    assert taken[-1] is given[-1]
    assert torch.equal(steered, logits_of(model, ids))
    model.get_submodule(place)._forward_hooks.clear()


def test_rows_that_do_not_change_stay_to_the_bit(models: dict[str, nn.Module]) -> None:
    model, sae, ids = models["gpt2"], random_sae(), token_ids()
    x, seen = seen_at(model, "transformer.h.1", ids), []
    with (
        features.steer(model, None, [Steering(sae, "transformer.h.1", 3, "add", 2.0, on=(2, 5))]),
        changed_by_hand(model, "transformer.h.1", lambda y: seen.append(y) or y),  # type: ignore[func-returns-value]
    ):
        logits_of(model, ids)
    changed = (seen[0] != x).any(-1)
    assert changed.nonzero()[:, 1].unique().tolist() == [2, 5] and changed[:, [2, 5]].all()


def test_set_to_what_it_is_changes_nothing(models: dict[str, nn.Module]) -> None:
    model, sae, ids = models["gpt2"], random_sae(), token_ids()[:1]
    acts = sae.encode(seen_at(model, "transformer.h.1", ids))[0]
    position, latent = (acts > 0).nonzero()[-1].tolist()
    same = Steering(sae, "transformer.h.1", latent, "set", acts[position, latent].item(), on=(position,))
    with features.steer(model, None, [same]):
        steered = logits_of(model, ids)
    assert torch.equal(steered, logits_of(model, ids))


def test_several_latents_of_several_saes_act_together(models: dict[str, nn.Module]) -> None:
    model, ids, first, second = models["gpt2"], token_ids(), random_sae(), random_sae(1)
    steerings = [
        Steering(first, "transformer.h.0", 3, "add", 2.0),
        Steering(first, "transformer.h.0", 5, "add", -1.0),
        Steering(first, "transformer.h.0", 3, "add", 1.0),
        Steering(second, "transformer.h.2", 7, "set", 4.0),
    ]
    with features.steer(model, None, steerings):
        steered = logits_of(model, ids)

    def set_second(x: Tensor) -> Tensor:
        return x + (4.0 - second.encode(x)[..., 7, None]) * second.W_dec[7]

    gain = (3 * first.W_dec[3] - first.W_dec[5]).detach()
    with (
        changed_by_hand(model, "transformer.h.0", lambda x: x + gain),
        changed_by_hand(model, "transformer.h.2", set_second),
    ):
        assert_close(steered, logits_of(model, ids), rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", PLACES)
@pytest.mark.parametrize("on", ["both", "prompt", "generated"])
@pytest.mark.parametrize("mode", ["set", "scale"])
def test_a_cached_generation_agrees_with_one_without(
    mode: str, on: str, kind: str, models: dict[str, nn.Module]
) -> None:
    model, ids, sae = models[kind], token_ids(5), random_sae(kind=Relu)
    steerings = [Steering(sae, PLACES[kind], latent, mode, 4.0, on=on) for latent in (3, 11)]  # type: ignore[arg-type]
    settings = {"max_new_tokens": 8, "do_sample": False, "pad_token_id": 0, "eos_token_id": None}
    plain = model.generate(ids, attention_mask=torch.ones_like(ids), **settings)
    found = []
    for cached in (True, False, True):
        with features.steer(model, None, steerings):
            found.append(model.generate(ids, attention_mask=torch.ones_like(ids), use_cache=cached, **settings))
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])
    assert not torch.equal(found[0], plain)
    with features.steer(model, None, steerings):
        own = [generate(model, ids[0], Sampling(8, temperature=0), use_cache=cached) for cached in (True, False)]
    assert own[0][0].tolist() == own[1][0].tolist() == found[0][0, 5:].tolist()


def test_prompt_and_generated_tokens_are_told_apart(models: dict[str, nn.Module]) -> None:
    model, ids, sae = models["gpt2"], token_ids(6), random_sae()
    clean = logits_of(model, ids)

    def steered(on: Any, **more: Any) -> Tensor:
        with features.steer(model, None, [Steering(sae, "transformer.h.1", 3, "add", 5.0, on=on)], **more):
            return logits_of(model, ids)

    assert torch.equal(steered("generated"), clean)
    assert torch.equal(steered("prompt"), steered("both"))
    late = steered("generated", prompt_tokens=4)
    assert torch.equal(late[:, :4], clean[:, :4]) and not torch.allclose(late[:, 4:], clean[:, 4:], atol=1e-2)
    early = steered("prompt", prompt_tokens=4)
    assert torch.equal(early[:, :4], steered("both")[:, :4]) and not torch.allclose(early, steered("both"), atol=1e-3)


def test_padding_and_special_tokens_are_not_touched(models: dict[str, nn.Module], tokenizer: Any) -> None:
    model, ids, seen = models["gpt2"], token_ids(6), []
    ids[:, 2] = tokenizer.bos_token_id
    mask = torch.ones_like(ids)
    mask[1, :2] = 0
    with (
        features.steer(model, tokenizer, [Steering(random_sae(), "transformer.h.0", 3, "add", 5.0)]),
        changed_by_hand(model, "transformer.h.0", lambda y: seen.append(y) or y),  # type: ignore[func-returns-value]
    ):
        logits_of(model, ids, attention_mask=mask)
    with changed_by_hand(model, "transformer.h.0", lambda y: seen.append(y) or y):  # type: ignore[func-returns-value]
        logits_of(model, ids, attention_mask=mask)
    changed = (seen[0] != seen[1]).any(-1)
    assert changed.int().tolist() == [[1, 1, 0, 1, 1, 1], [0, 0, 0, 1, 1, 1], [1, 1, 0, 1, 1, 1]]


def test_a_batch_is_steered_as_each_context_alone(models: dict[str, nn.Module]) -> None:
    model, ids, sae = models["gpt2"], token_ids(), random_sae()
    with features.steer(model, None, [Steering(sae, "transformer.h.1", 3, "set", 5.0)]):
        assert_close(logits_of(model, ids)[1:2], logits_of(model, ids[1:2]), rtol=0, atol=1e-5)


@pytest.mark.parametrize("normalize", ["token_norm", "layer_norm"])
def test_a_normalisation_of_each_row_scales_the_change(normalize: str, models: dict[str, nn.Module]) -> None:
    model, sae, ids, place = models["gpt2"], random_sae(), token_ids(), "transformer.h.1"
    sae.normalize = normalize

    def by_hand(x: Tensor) -> Tensor:
        acts = sae.encode(x)
        edited = acts.clone()
        edited[..., 3] = 5.0
        return x + sae.reconstruct_raw(x, edited) - sae.reconstruct_raw(x, acts)

    with features.steer(model, None, [Steering(sae, place, 3, "set", 5.0)]):
        steered = logits_of(model, ids)
    with changed_by_hand(model, place, by_hand):
        assert_close(steered, logits_of(model, ids), rtol=0, atol=1e-4)


def test_a_transcoder_changes_what_it_replaces(models: dict[str, nn.Module]) -> None:
    model, ids = models["gpt2"], token_ids()
    transcoder = TopK(WIDTH, NUM_LATENTS, k=4, d_out=WIDTH, subtracts_b_dec=False)
    with torch.no_grad():
        transcoder.W_dec.normal_(generator=torch.Generator().manual_seed(0))
    place, output = "transformer.h.1.mlp:in", "transformer.h.1.mlp"
    with features.steer(model, None, [Steering(transcoder, place, 3, "set", 5.0, output=output)]):
        steered = logits_of(model, ids)
    with changed_by_hand(model, output, lambda y: y + 5.0 * transcoder.W_dec[3]):
        assert_close(steered, logits_of(model, ids), rtol=0, atol=1e-5)


def test_a_half_precision_model_keeps_its_dtype(folders: dict[str, Path]) -> None:
    model = AutoModelForCausalLM.from_pretrained(folders["gpt2"], dtype=torch.bfloat16).eval()
    clean = logits_of(model, token_ids())
    with features.steer(model, None, [Steering(random_sae(), "transformer.h.1", 3, "set", 5.0)]):
        steered = logits_of(model, token_ids())
    assert steered.dtype == torch.bfloat16 and not torch.equal(steered, clean)


def test_hooks_go_whatever_happens(models: dict[str, nn.Module]) -> None:
    model, ids = models["gpt2"], token_ids()
    clean, steering = logits_of(model, ids), Steering(random_sae(), "transformer.h.1", 3, "add", 5.0)
    with pytest.raises(KeyboardInterrupt), features.steer(model, None, [steering]):
        raise KeyboardInterrupt
    wrong = Steering(TopK(24, 8, k=2), "transformer.h.1", 3, "add", 5.0)
    with (
        pytest.raises(UserError, match=r"transformer\.h\.1 gives vectors of 16 values and the SAE reads vectors of 24"),
        features.steer(model, None, [steering, wrong]),
    ):
        logits_of(model, ids)
    with pytest.raises(UserError, match=r"no module 'transformer\.h\.9'"):
        features.steer(model, None, [steering, Steering(random_sae(), "transformer.h.9", 3)]).__enter__()
    assert torch.equal(logits_of(model, ids), clean)
    assert not model._forward_hooks and not model._forward_pre_hooks


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"latent": NUM_LATENTS}, "latent must be from 0 to 47, got 48"),
        ({"mode": "clamp"}, "mode must be one of add, set, set_if_active, scale, ablate, got 'clamp'"),
        ({"strength": float("nan")}, "strength must be a finite number, got nan"),
        ({"on": "never"}, "on must be prompt, generated or both, got 'never'"),
    ],
)
def test_what_cannot_be_is_refused_with_a_sentence(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        Steering(**{"sae": random_sae(), "hookpoint": "transformer.h.1", "latent": 3, **changes})


def test_chance_is_the_same_for_a_model_and_the_same_model_steered(models: dict[str, nn.Module]) -> None:
    model, prompt, sampling = models["gpt2"], token_ids()[0], Sampling(10, 1.0, seed=4, num_samples=3)
    plain = generate(model, prompt, sampling)
    idle = Steering(random_sae(), "transformer.h.1", 3, "add", 0.0)
    with features.steer(model, None, [idle]):
        assert all(map(torch.equal, generate(model, prompt, sampling), plain))
    assert len({tuple(one.tolist()) for one in plain}) == 3
    again = generate(model, prompt, Sampling(10, 1.0, seed=5))
    assert torch.equal(again[0], plain[1])


def test_samples_are_drawn_as_often_as_they_are_likely(models: dict[str, nn.Module]) -> None:
    model, prompt = models["gpt2"], token_ids()[0]
    drawn = generate(model, prompt, Sampling(1, 1.0, num_samples=4000))
    shares = torch.bincount(torch.cat(drawn), minlength=VOCAB_SIZE) / 4000
    likely = logits_of(model, prompt[None])[0, -1].softmax(-1)
    assert (shares - likely).abs().max() < 4 * (likely.max() * (1 - likely.max()) / 4000).sqrt()


def test_a_sample_ends_with_a_stop_token_and_others_go_on(models: dict[str, nn.Module]) -> None:
    model, prompt = models["gpt2"], token_ids()[0]
    plain = generate(model, prompt, Sampling(12, 1.0, num_samples=2))
    stop = int(plain[0][3])
    assert stop not in plain[0][:3]
    stopped = generate(model, prompt, Sampling(12, 1.0, num_samples=2, stop_ids=(stop,)))
    assert stopped[0].tolist() == plain[0][:4].tolist()
    end = (plain[1] == stop).nonzero().flatten().tolist()
    assert stopped[1].tolist() == plain[1][: end[0] + 1 if end else None].tolist()
    assert len(list(stream(model, prompt, Sampling(12, 1.0, stop_ids=(stop,))))) == 4


def test_generation_ends_where_the_model_takes_no_more(models: dict[str, nn.Module]) -> None:
    assert [len(one) for one in generate(models["gpt2"], token_ids(60)[0], Sampling(50))] == [4]
    with pytest.raises(UserError, match="the prompt has 64 tokens; the model takes 64, new ones included"):
        generate(models["gpt2"], token_ids(64)[0], Sampling(5))
    with pytest.raises(UserError, match="the prompt is empty"):
        generate(models["gpt2"], token_ids(64)[0, :0], Sampling(5))
