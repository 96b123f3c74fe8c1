"""Effects, comparisons and doses agree with what two plain forwards say."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"

from typing import Any

import pytest
import torch
from tiny_models import VOCAB_SIZE, tiny_gpt2
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, kl_div
from torch.testing import assert_close
from transformers import AutoModelForCausalLM

import features
from features.comparison import compare
from features.dose_response import dose_response
from features.effects import ablation, effects_of
from features.generation import Sampling
from features.steering import Steering
from shared.errors import UserError
from trainers.topk import TopK

PLACE = "transformer.h.1"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> nn.Module:
    folder = tiny_gpt2(tmp_path_factory.mktemp("models") / "gpt2", initializer_range=0.5)
    return AutoModelForCausalLM.from_pretrained(folder).eval()


@pytest.fixture(scope="module")
def sae() -> TopK:
    sae = TopK(16, 48, k=4)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in sae.parameters():
            parameter.normal_(0, 0.3, generator=generator)
    return sae


def token_ids() -> Tensor:
    return torch.randint(5, VOCAB_SIZE, (2, 9), generator=torch.Generator().manual_seed(1))


def logits_of(model: nn.Module, ids: Tensor) -> Tensor:
    with torch.no_grad():
        return model(ids).logits


def active(model: nn.Module, sae: TopK, ids: Tensor) -> tuple[int, int]:
    """A latent that fires in the first context, and a place before its end where it does."""
    with features.attach(model, sae, PLACE, keep_error=True) as attached:
        logits_of(model, ids)
    assert attached.acts is not None
    position, latent = (attached.acts[0, 2:6] > 0).nonzero()[0].tolist()
    return latent, position + 2


def test_effects_are_what_two_forwards_differ_in(model: nn.Module, sae: TopK) -> None:
    ids = token_ids()
    latent, _ = active(model, sae, ids)
    taken = ablation(sae, PLACE, latent)
    found = effects_of(model, None, [taken], ids, num_votes=3)
    clean = logits_of(model, ids)
    with features.steer(model, None, [taken]):
        ablated = logits_of(model, ids)
    assert not torch.allclose(clean, ablated, atol=1e-3)
    losses = [cross_entropy(one[:, :-1].transpose(1, 2), ids[:, 1:], reduction="none") for one in (clean, ablated)]
    assert_close(found.loss_rise, losses[1] - losses[0], rtol=0, atol=1e-5)
    kl = kl_div(ablated.log_softmax(-1), clean.log_softmax(-1), log_target=True, reduction="none").sum(-1)
    assert_close(found.kl, kl, rtol=0, atol=1e-5)
    change = clean.softmax(-1) - ablated.softmax(-1)
    assert torch.equal(found.up_probs.ids[..., 0], change.argmax(-1))
    assert_close(found.down_probs.changes[..., 0], change.amin(-1))
    assert (found.up_logits.changes >= found.up_logits.changes[..., -1:]).all()
    assert (found.down_logits.changes[..., 0] < 0).any()


def test_no_token_is_voted_for_that_became_less_likely(model: nn.Module, sae: TopK) -> None:
    ids = token_ids()
    latent, position = active(model, sae, ids)
    found = effects_of(model, None, [ablation(sae, PLACE, latent)], ids, num_votes=VOCAB_SIZE)
    for up, down in ((found.up_logits, found.down_logits), (found.up_probs, found.down_probs)):
        votes_for, votes_against = (one.ids[0, position][one.changes[0, position] != 0] for one in (up, down))
        assert len(votes_for) and len(votes_against) and not set(votes_for.tolist()) & set(votes_against.tolist())
        assert (up.changes >= 0).all() and (down.changes <= 0).all()


def test_taken_away_at_one_token_it_changes_only_what_comes_from_there_on(model: nn.Module, sae: TopK) -> None:
    ids = token_ids()
    latent, position = active(model, sae, ids)
    found = effects_of(model, None, [ablation(sae, PLACE, latent, position)], ids[:1])
    assert not found.kl[0, :position].any() and not found.loss_rise[0, :position].any()
    assert found.kl[0, position] > 0


def test_a_silent_latent_has_no_effect_at_all(model: nn.Module, sae: TopK) -> None:
    ids = token_ids()
    with features.attach(model, sae, PLACE, keep_error=True) as attached:
        logits_of(model, ids)
    assert attached.acts is not None
    silent = int((attached.acts.flatten(0, 1).amax(0) == 0).nonzero()[0])
    found = effects_of(model, None, [ablation(sae, PLACE, silent)], ids)
    assert not any(one.any() for one in (found.loss_rise, found.kl, found.up_probs.changes, found.down_logits.changes))


def test_a_comparison_measures_each_step_of_the_steered_text(model: nn.Module, sae: TopK) -> None:
    prompt, sampling = token_ids()[0], Sampling(6, 1.0, seed=3, num_samples=2)
    steering = Steering(sae, PLACE, 3, "add", 4.0, on="generated")
    seen: dict[str, list[list[int]]] = {"baseline": [], "steered": []}
    found = compare(model, None, prompt, [steering], sampling, lambda side, tokens: seen[side].append(tokens.tolist()))
    assert torch.tensor(seen["steered"]).T.tolist() == [one.tolist() for one in found.steered]
    assert torch.tensor(seen["baseline"]).T.tolist() == [one.tolist() for one in found.baseline]
    assert [len(one) for one in (*found.baseline, *found.steered, *found.kl, *found.loss)] == [6] * 8
    assert found.steered[0][0] == found.baseline[0][0], "the first new token comes of the prompt alone"
    for written, kl, loss in zip(found.steered, found.kl, found.loss, strict=True):
        text = torch.cat([prompt, written])
        for step in range(6):
            before = text[None, : len(prompt) + step]
            plain = logits_of(model, before)[0, -1].log_softmax(-1)
            with features.steer(model, None, [steering], prompt_tokens=len(prompt)):
                steered = logits_of(model, before)[0, -1].log_softmax(-1)
            assert_close(kl[step], (steered.exp() * (steered - plain)).sum(), rtol=0, atol=1e-5)
            assert_close(loss[step], -plain[written[step]], rtol=0, atol=1e-5)
        assert kl[0] == 0 and (kl[1:] > 1e-4).any()


def test_steering_that_changes_nothing_writes_the_same_at_no_distance(model: nn.Module, sae: TopK) -> None:
    found = compare(model, None, token_ids()[0], [Steering(sae, PLACE, 3, "scale", 1.0)], Sampling(8, 1.0))
    assert found.baseline[0].tolist() == found.steered[0].tolist() and not found.kl[0].any()


def test_a_dose_multiplies_the_strength(model: nn.Module, sae: TopK) -> None:
    prompt, sampling = token_ids()[0], Sampling(6, 1.0, num_samples=3)
    direction = model.lm_head.weight.detach() @ sae.W_dec[3].detach()  # type: ignore[union-attr, operator]
    targets = direction.topk(8).indices.tolist()
    steering = Steering(sae, PLACE, 3, "add", 1.5, unit=2.0)
    found = dose_response(model, None, prompt, [steering], [0, 1, 4], sampling, targets)
    assert [one.strength for one in found] == [0, 1, 4] and found[0].kl == 0
    assert found[0].kl < found[1].kl < found[2].kl
    by_hand = compare(model, None, prompt, [Steering(sae, PLACE, 3, "add", 12.0)], sampling)
    assert [one.tolist() for one in found[2].written] == [one.tolist() for one in by_hand.steered]
    tokens = torch.cat(by_hand.steered).tolist()
    assert found[2].target_share == pytest.approx(sum(one in targets for one in tokens) / len(tokens))
    assert found[0].target_probability is not None and 0 < found[0].target_probability < 1


def test_what_has_no_dose_is_refused(model: nn.Module, sae: TopK) -> None:
    given: Any = (model, None, token_ids()[0], [ablation(sae, PLACE, 3)], [1.0], Sampling(2))
    with pytest.raises(UserError, match="there is no dose of ablate: use scale"):
        dose_response(*given)
