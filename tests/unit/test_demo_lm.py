"""The demo language model as it lies in the repository: it loads, it is small, and it knows Python."""

import json
import math
import re
import sysconfig
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerFast

from examples.demo_lm import train

EXAMPLE = Path(__file__).parents[2] / "examples" / "demo_lm"
STDLIB = Path(sysconfig.get_paths()["stdlib"])
FACTS = json.loads((EXAMPLE / "training.json").read_text())


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return AutoTokenizer.from_pretrained(EXAMPLE / "model")


@pytest.fixture(scope="module")
def model() -> PreTrainedModel:
    return AutoModelForCausalLM.from_pretrained(EXAMPLE / "model").eval()


def held_out_tokens(tokenizer: PreTrainedTokenizerFast, num_tokens: int) -> torch.Tensor:
    """From the held-out files that this Python has; each file gives at most 500 tokens, so that many are seen."""
    ids: list[int] = []
    for name in FACTS["held_out_files"]:
        if (STDLIB / name).exists():
            ids.append(tokenizer.eos_token_id)
            ids.extend(tokenizer.backend_tokenizer.encode((STDLIB / name).read_text("utf-8")).ids[:500])
    return torch.tensor(ids[:num_tokens])


@torch.no_grad()
def mean_loss(model: PreTrainedModel, tokens: torch.Tensor) -> float:
    """Nats per token over disjoint contexts of 256, the first token of each left out."""
    contexts = tokens[: len(tokens) // 256 * 256].view(-1, 256)
    logits = torch.cat([model(part).logits[:, :-1] for part in contexts.split(16)])
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), contexts[:, 1:].flatten()).item()


def test_held_out_loss_is_far_below_what_counting_tokens_reaches(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast
) -> None:
    tokens = held_out_tokens(tokenizer, 256 * 16)
    assert len(tokens) == 256 * 16
    loss = mean_loss(model, tokens)
    assert loss < 0.65 * FACTS["unigram_loss"]
    assert loss < 0.9 * FACTS["bigram_loss"]


def test_shuffled_tokens_are_worse_than_text(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> None:
    tokens = held_out_tokens(tokenizer, 256 * 8)
    shuffled = tokens[torch.randperm(len(tokens), generator=torch.Generator().manual_seed(0))]
    assert mean_loss(model, shuffled) > mean_loss(model, tokens) + 1


def test_after_return_self_comes_a_dot(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> None:
    text = "class Queue:\n\n    def get(self):\n        return self"
    with torch.no_grad():
        logits = model(**tokenizer(text, return_tensors="pt")).logits[0, -1]
    assert tokenizer.decode(logits.argmax()).startswith(".")


@pytest.mark.parametrize(
    "text",
    [
        'def f(self):\n    """Doc."""\n\treturn  1\n',
        "héllo ∑ 🐍 \x00\r\n",
        " leading and trailing ",
        "x , y ! don 't",
    ],
)
def test_tokenizer_gives_text_back(tokenizer: PreTrainedTokenizerFast, text: str) -> None:
    assert tokenizer.decode(tokenizer(text).input_ids) == text


def test_tokenizer_is_fast_and_frames_documents_with_end_of_text(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast
) -> None:
    assert tokenizer.is_fast
    assert tokenizer.bos_token == tokenizer.eos_token == "<|endoftext|>"
    assert tokenizer.eos_token_id == model.config.eos_token_id == model.config.bos_token_id
    assert len(tokenizer) == model.config.vocab_size


def test_folder_is_at_most_8_mb() -> None:
    assert sum(file.stat().st_size for file in (EXAMPLE / "model").iterdir()) <= 8_000_000


def test_no_file_names_a_folder_of_the_machine_that_trained() -> None:
    files = ["model/config.json", "model/generation_config.json", "model/tokenizer_config.json", "training.json"]
    assert not [name for name in files if re.search(r'"/\w', (EXAMPLE / name).read_text())]


def test_split_is_the_recorded_one() -> None:
    per_mille = FACTS["settings"]["held_out_per_mille"]
    assert all(train.is_held_out(path, per_mille) for path in FACTS["held_out_files"])
    shares = [train.is_held_out(f"package/module_{i}.py", per_mille) for i in range(10_000)]
    assert sum(shares) / 10_000 == pytest.approx(per_mille / 1000, rel=0.2)


@pytest.mark.parametrize(
    ("path", "excluded"),
    [
        ("json/decoder.py", False),
        ("unittest/case.py", False),
        ("unittest/test/test_case.py", True),
        ("site-packages/numpy/linalg.py", True),
        ("_sysconfigdata__linux_x86_64-linux-gnu.py", True),
    ],
)
def test_tests_and_other_peoples_packages_are_left_out(path: str, excluded: bool) -> None:
    assert train.is_excluded(Path(path)) is excluded


def test_unigram_and_bigram_losses_equal_hand_counts() -> None:
    seen, held_out = torch.tensor([0, 1, 0, 1, 2]), torch.tensor([0, 1, 2])
    unigram = [3 / 8, 3 / 8, 2 / 8]
    assert train.unigram_loss(seen, held_out, 3) == pytest.approx(-(math.log(unigram[1]) + math.log(unigram[2])) / 2)
    first, second = (2 + 10 * unigram[1]) / (2 + 10), (1 + 10 * unigram[2]) / (2 + 10)
    assert train.bigram_loss(seen, held_out, 3, 10.0) == pytest.approx(-(math.log(first) + math.log(second)) / 2)


def test_held_out_loss_predicts_each_token_once() -> None:
    """A model whose loss does not depend on context must give the plain mean, also over the short rest."""
    settings = train.Settings(vocab_entries=64, n_embd=8, n_layer=1, n_head=1, context_tokens=16)
    model = train.build_model(settings, 0)
    for parameter in model.parameters():
        torch.nn.init.zeros_(parameter)
    tokens = torch.arange(41) % 64
    assert train.held_out_loss(model, tokens, 16) == pytest.approx(math.log(64), rel=1e-3)
