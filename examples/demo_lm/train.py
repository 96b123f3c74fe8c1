"""Train the demo language model: a GPT-2 of 1.7 M parameters on Python's own standard library.

Both splits are cut from streams `<|endoftext|> file <|endoftext|> file …`. What must stay true: a file is in one split
only, chosen by a hash of its path, so that another Python version keeps nearly the same split; the held-out loss
predicts every held-out token exactly once; `model/` always holds a whole, loadable model, the best one so far.

Trade-off: 34 minutes on one busy CPU core (bfloat16 products, float32 AdamW) and a folder under 8 MB, against quality.

    python examples/demo_lm/train.py            # writes model/, loss.csv and training.json beside this file
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import math
import os
import platform
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tokenizers
import torch
import transformers
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

END_OF_TEXT = "<|endoftext|>"
EXCLUDED_FOLDERS = frozenset(
    {
        "test",
        "tests",
        "idle_test",
        "site-packages",
        "dist-packages",
        "_bundled",
        "__phello__",
        "encodings",
        "pydoc_data",
    }
)
"""Tests, other people's packages, and two folders that are generated tables rather than code."""
EXCLUDED_PREFIXES = ("_sysconfigdata", "config-")
"""Generated when Python was built; they name the folders of the machine that built it."""


@dataclass(frozen=True)
class Settings:
    """Everything that decides what comes out, apart from the files of the running Python."""

    seed: int = 0
    vocab_entries: int = 4096
    context_tokens: int = 256
    n_embd: int = 128
    n_layer: int = 6
    n_head: int = 4
    init_std: float = 0.05
    """About the square root of 1 / (3 n_embd); GPT-2's 0.02 is for wider models."""
    steps: int = 5500
    batch_contexts: int = 8
    learning_rate: float = 3e-3
    """Peak, after the warm-up; the cosine ends at zero."""
    warmup_steps: int = 200
    weight_decay: float = 0.1
    """On matrices only."""
    clip_norm: float = 1.0
    held_out_per_mille: int = 50
    """Files out of a thousand that are held out."""
    log_every_steps: int = 100
    evaluate_every_steps: int = 500
    num_threads: int = 1
    """Two are 1.4 times as fast on two idle cores, and up to 15 times slower when another process wants one of them."""


class Corpus(NamedTuple):
    """One split: files, their bytes, their tokens with `<|endoftext|>` before the first, between and after the last."""

    paths: list[str]
    num_bytes: int
    tokens: Tensor


class Evaluation(NamedTuple):
    """One line of loss.csv; losses in nats per token, `train_loss` a mean over the steps since the line before."""

    step: int
    train_loss: float
    held_out_loss: float


# Corpus


def list_files(root: Path) -> list[str]:
    """The .py files under `root` that the model may see: relative paths with slashes, sorted."""
    relative = (path.relative_to(root) for path in root.rglob("*.py"))
    return sorted(path.as_posix() for path in relative if not is_excluded(path))


def is_excluded(path: Path) -> bool:
    return any(part in EXCLUDED_FOLDERS or part.startswith(EXCLUDED_PREFIXES) for part in path.parts)


def is_held_out(relative: str, per_mille: int) -> bool:
    digest = hashlib.sha256(relative.encode()).digest()
    return int.from_bytes(digest[:8], "big") % 1000 < per_mille


def read_texts(root: Path, paths: list[str]) -> list[str]:
    """The files' text with unix line ends; a file that is not UTF-8 is read as Latin-1, as old sources are."""
    texts = []
    for path in paths:
        raw = (root / path).read_bytes().replace(b"\r\n", b"\n")
        try:
            texts.append(raw.decode("utf-8"))
        except UnicodeDecodeError:
            texts.append(raw.decode("latin-1"))
    return texts


def tokenize(tokenizer: PreTrainedTokenizerFast, paths: list[str], texts: list[str]) -> Corpus:
    end_id = tokenizer.convert_tokens_to_ids(END_OF_TEXT)
    ids = [end_id]
    for encoding in tokenizer.backend_tokenizer.encode_batch(texts):
        ids.extend(encoding.ids)
        ids.append(end_id)
    return Corpus(paths, sum(len(text.encode()) for text in texts), torch.tensor(ids))


def train_tokenizer(texts: list[str], settings: Settings) -> PreTrainedTokenizerFast:
    """Byte-level BPE with GPT-2's splitting; the newline and all of an indent but its last space are one token."""
    backend = tokenizers.Tokenizer(tokenizers.models.BPE())
    backend.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=settings.vocab_entries,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token=END_OF_TEXT,
        eos_token=END_OF_TEXT,
        pad_token=END_OF_TEXT,
        model_max_length=settings.context_tokens,
        clean_up_tokenization_spaces=False,
    )


# What a model that cannot see far would reach


def unigram_loss(train: Tensor, held_out: Tensor, vocab_entries: int) -> float:
    """Cross-entropy of the held-out tokens under add-one counts of the training tokens, nats per token."""
    counts = np.bincount(train.numpy(), minlength=vocab_entries) + 1.0
    return float(-np.log(counts / counts.sum())[held_out[1:].numpy()].mean())


def bigram_loss(train: Tensor, held_out: Tensor, vocab_entries: int, prior_tokens: float = 100.0) -> float:
    """The same under p(b|a) = (n(a,b) + prior_tokens p(b)) / (n(a) + prior_tokens), p(b) the unigram's."""
    unigram = np.bincount(train.numpy(), minlength=vocab_entries) + 1.0
    unigram /= unigram.sum()
    pairs = np.bincount((train[:-1] * vocab_entries + train[1:]).numpy(), minlength=vocab_entries**2)
    firsts = pairs.reshape(vocab_entries, vocab_entries).sum(axis=1)
    first, second = held_out[:-1].numpy(), held_out[1:].numpy()
    probability = (pairs[first * vocab_entries + second] + prior_tokens * unigram[second]) / (
        firsts[first] + prior_tokens
    )
    return float(-np.log(probability).mean())


# Model and optimiser


def build_model(settings: Settings, end_id: int) -> GPT2LMHeadModel:
    config = GPT2Config(
        vocab_size=settings.vocab_entries,
        n_positions=settings.context_tokens,
        n_embd=settings.n_embd,
        n_layer=settings.n_layer,
        n_head=settings.n_head,
        activation_function="gelu_pytorch_tanh",
        initializer_range=settings.init_std,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=end_id,
        eos_token_id=end_id,
        tie_word_embeddings=True,
    )
    model = GPT2LMHeadModel(config)
    model.generation_config.pad_token_id = end_id
    return model


def build_optimizer(model: GPT2LMHeadModel, settings: Settings) -> torch.optim.AdamW:
    parameters = list(model.parameters())
    groups = [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": settings.weight_decay},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=settings.learning_rate, betas=(0.9, 0.95), fused=True)


def learning_rate(step: int, settings: Settings) -> float:
    """Linear warm-up, then a cosine from the peak to zero at `settings.steps`."""
    if step < settings.warmup_steps:
        return settings.learning_rate * (step + 1) / settings.warmup_steps
    progress = (step - settings.warmup_steps) / max(1, settings.steps - settings.warmup_steps)
    return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))


# Loop and evaluation


def token_loss(model: GPT2LMHeadModel, contexts: Tensor) -> Tensor:
    """Mean cross-entropy of tokens 1 … T given those before; contexts [batch, T + 1], products in bfloat16."""
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(contexts[:, :-1], use_cache=False).logits
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), contexts[:, 1:].flatten())


def draw_contexts(tokens: Tensor, settings: Settings, generator: torch.Generator) -> Tensor:
    """[batch_contexts, context_tokens + 1] from uniformly drawn places of the stream."""
    length = settings.context_tokens + 1
    starts = torch.randint(len(tokens) - length + 1, (settings.batch_contexts, 1), generator=generator)
    return tokens[starts + torch.arange(length)]


@torch.no_grad()
def held_out_loss(model: GPT2LMHeadModel, tokens: Tensor, context_tokens: int) -> float:
    """Nats per token; contexts overlap by the one token that is input to the next, so each token is predicted once."""
    model.eval()
    total, last = 0.0, len(tokens) - 1
    whole = last // context_tokens
    contexts = tokens[torch.arange(whole)[:, None] * context_tokens + torch.arange(context_tokens + 1)]
    for batch in contexts.split(32):
        total += token_loss(model, batch).item() * batch[:, 1:].numel()
    if rest := last - whole * context_tokens:
        total += token_loss(model, tokens[None, -rest - 1 :]).item() * rest
    model.train()
    return total / last


def train_step(
    model: GPT2LMHeadModel, optimizer: torch.optim.AdamW, contexts: Tensor, step: int, settings: Settings
) -> float:
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(step, settings)
    loss = token_loss(model, contexts)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), settings.clip_norm)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return loss.item()


def train(model: GPT2LMHeadModel, train_tokens: Tensor, held_out: Tensor, settings: Settings) -> Iterator[Evaluation]:
    """Takes `settings.steps` steps and yields after every `evaluate_every_steps` of them, and after the last."""
    optimizer = build_optimizer(model, settings)
    generator = torch.Generator().manual_seed(settings.seed)
    losses: list[float] = []
    started = time.monotonic()
    model.train()
    for step in range(1, settings.steps + 1):
        contexts = draw_contexts(train_tokens, settings, generator)
        losses.append(train_step(model, optimizer, contexts, step - 1, settings))
        if step % settings.log_every_steps == 0:
            recent = losses[-settings.log_every_steps :]
            rate = step * settings.batch_contexts * settings.context_tokens / (time.monotonic() - started)
            print(f"step={step} train_loss={sum(recent) / len(recent):.4f} tokens_per_s={rate:.0f}", flush=True)
        if step % settings.evaluate_every_steps == 0 or step == settings.steps:
            yield Evaluation(step, sum(losses) / len(losses), held_out_loss(model, held_out, settings.context_tokens))
            losses = []


# Writing


def save(folder: Path, model: GPT2LMHeadModel, tokenizer: PreTrainedTokenizerFast) -> None:
    """Each file is replaced whole: whoever loads `folder` meanwhile gets an old or a new one, never half of one."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        model.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
        name_portable_tokenizer_class(Path(temporary) / "tokenizer_config.json")
        for path in Path(temporary).iterdir():
            path.chmod(0o644)
            os.replace(path, folder / path.name)


def name_portable_tokenizer_class(path: Path) -> None:
    """transformers 5 writes `TokenizersBackend`, which transformers 4 does not know; both know this name."""
    config = json.loads(path.read_text())
    config["tokenizer_class"] = "PreTrainedTokenizerFast"
    path.write_text(json.dumps(config, indent=2) + "\n")


def write_losses(path: Path, evaluations: list[Evaluation]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(Evaluation._fields)
        writer.writerows((e.step, f"{e.train_loss:.4f}", f"{e.held_out_loss:.4f}") for e in evaluations)


def summary(
    model: GPT2LMHeadModel, train_split: Corpus, held_out: Corpus, best: Evaluation, wall_s: float, settings: Settings
) -> dict[str, object]:
    """What training.json holds; losses in nats per token over the held-out split."""
    vocab_entries = settings.vocab_entries
    bits = best.held_out_loss * (len(held_out.tokens) - 1) / math.log(2)
    unigram = unigram_loss(train_split.tokens, held_out.tokens, vocab_entries)
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "tokenizers": tokenizers.__version__,
        "num_parameters": sum(p.numel() for p in model.parameters()),
        "train_files": len(train_split.paths),
        "train_bytes": train_split.num_bytes,
        "train_tokens": len(train_split.tokens),
        "held_out_bytes": held_out.num_bytes,
        "held_out_tokens": len(held_out.tokens),
        "tokens_seen": settings.steps * settings.batch_contexts * settings.context_tokens,
        "best_step": best.step,
        "held_out_loss": round(best.held_out_loss, 4),
        "held_out_bits_per_byte": round(bits / held_out.num_bytes, 4),
        "unigram_loss": round(unigram, 4),
        "bigram_loss": round(bigram_loss(train_split.tokens, held_out.tokens, vocab_entries), 4),
        "share_of_unigram_loss": round(best.held_out_loss / unigram, 4),
        "wall_s": round(wall_s),
        "settings": asdict(settings),
        "held_out_files": held_out.paths,
    }


# Set-up


def load_corpora(settings: Settings) -> tuple[PreTrainedTokenizerFast, Corpus, Corpus]:
    """The tokenizer, which has seen the training files only, and the two splits."""
    root = Path(sysconfig.get_paths()["stdlib"])
    splits: dict[bool, list[str]] = {False: [], True: []}
    for path in list_files(root):
        splits[is_held_out(path, settings.held_out_per_mille)].append(path)
    texts = {held_out: read_texts(root, paths) for held_out, paths in splits.items()}
    tokenizer = train_tokenizer(texts[False], settings)
    return tokenizer, tokenize(tokenizer, splits[False], texts[False]), tokenize(tokenizer, splits[True], texts[True])


def parse_arguments() -> tuple[Path, Settings]:
    parser = argparse.ArgumentParser(
        description="Train the demo language model on the standard library of this Python."
    )
    parser.add_argument("--output", type=Path, default=Path(__file__).parent, help="folder for model/ and the figures")
    for field in fields(Settings):
        name = f"--{field.name.replace('_', '-')}"
        parser.add_argument(name, type=type(field.default), default=field.default, help=f"default {field.default}")
    arguments = vars(parser.parse_args())
    return arguments.pop("output"), Settings(**arguments)


def main() -> None:
    output, settings = parse_arguments()
    started = time.monotonic()
    transformers.logging.disable_progress_bar()
    torch.set_num_threads(settings.num_threads)
    torch.manual_seed(settings.seed)
    tokenizer, train_split, held_out = load_corpora(settings)
    model = build_model(settings, tokenizer.convert_tokens_to_ids(END_OF_TEXT))
    print(f"train_tokens={len(train_split.tokens)} held_out_tokens={len(held_out.tokens)}", flush=True)

    evaluations: list[Evaluation] = []
    best = Evaluation(0, math.inf, math.inf)
    for evaluation in train(model, train_split.tokens, held_out.tokens, settings):
        evaluations.append(evaluation)
        write_losses(output / "loss.csv", evaluations)
        print(f"step={evaluation.step} held_out_loss={evaluation.held_out_loss:.4f}", flush=True)
        if evaluation.held_out_loss < best.held_out_loss:
            best = evaluation
            save(output / "model", model, tokenizer)

    facts = summary(model, train_split, held_out, best, time.monotonic() - started, settings)
    (output / "training.json").write_text(json.dumps(facts, indent=2) + "\n")


if __name__ == "__main__":
    main()
