"""On the demo's language model: turning a latent up makes the model write what the latent stands for."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"

from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from demo_sae import HOOKPOINT, MODEL, demo_tokens, train_demo_sae
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer

import features
from features.dose_response import dose_response
from features.generation import Sampling
from features.steering import Steering
from trainers import load_sae

ROOT = Path(__file__).parents[2]


class Demo(NamedTuple):
    model: nn.Module
    tokenizer: Any
    sae: Any
    ids: Tensor
    acts: Tensor
    """[contexts, tokens, num_latents] of `ids`."""


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    folder = tmp_path_factory.mktemp("sae") / "topk-1024"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        train_demo_sae(folder, num_tokens=7680, passes=8)
        model, ids = AutoModelForCausalLM.from_pretrained(MODEL).eval(), demo_tokens(7680)
        tokenizer = AutoTokenizer.from_pretrained(MODEL)
    sae = load_sae(folder)
    with torch.no_grad(), features.attach(model, sae, HOOKPOINT[0], keep_error=True) as attached:
        model(ids)
    assert attached.acts is not None
    return Demo(model, tokenizer, sae, ids, attached.acts)


def before(demo: Demo, word: str) -> tuple[int, int, float]:
    """The token id of `word`, the latent that most tells that it comes next, and its largest activation."""
    (token,) = demo.tokenizer(word).input_ids
    comes_next = demo.ids[:, 1:] == token
    acts = demo.acts[:, :-1]
    assert comes_next.sum() >= 10, word
    contrast = acts[comes_next].mean(0) - acts[~comes_next].mean(0)
    latent = int(contrast.argmax())
    return token, latent, acts[..., latent].max().item()


@pytest.mark.parametrize("word", [" def", " if"])
def test_the_share_of_what_it_stands_for_rises_with_the_dose(word: str, demo: Demo) -> None:
    token, latent, largest = before(demo, word)
    prompt = torch.tensor([demo.tokenizer.bos_token_id, *demo.tokenizer("import os\n\n\nclass Circle(").input_ids])
    steering = Steering(demo.sae, HOOKPOINT[0], latent, "add", unit=largest)
    sampling = Sampling(max_new_tokens=24, temperature=1.0, num_samples=16)
    found = dose_response(demo.model, demo.tokenizer, prompt, [steering], [-1, 0, 1, 2, 4], sampling, [token])
    likely, shares = ([getattr(one, name) for one in found] for name in ("target_probability", "target_share"))
    assert likely == sorted(likely) and likely[-1] > 5 * likely[1], likely
    assert shares[1] <= shares[2] <= shares[3] < shares[4] and shares[4] > shares[1] + 0.03, shares
    assert found[1].kl == 0 < found[2].kl < found[3].kl < found[4].kl
