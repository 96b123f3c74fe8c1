"""A run whose latents mean what is known: a model in whose embedding each class of tokens has a direction of its own.

Blocks add next to nothing, and the unembedding is the embedding: so the model predicts that a class goes on, and a
latent of a class's direction is what it predicts that by. What all tokens have in common keeps the final norm from
making the little that is left of a class, once its latent is taken away, into all of it.
"""

from pathlib import Path

import torch
from tiny_models import text, tiny_gpt2
from transformers import AutoModelForCausalLM, AutoTokenizer

from producers.corpus import Corpus
from shared.config import Job
from shared.job_file import dump_job
from trainers import SaeFacts
from trainers.relu import Relu
from trainers.saelens_format import save_sae

HOOKPOINT = "transformer.h.0:in"
CLASSES = ("w", "d", "(")
"""A token is of the class whose letter it has, the first of them; latent i is that of class i."""
WIDTH, LATENTS, STRENGTH, NOISE, BACKGROUND = 32, 12, 4.0, 0.3, 6.0


def planted_run(folder: Path) -> Path:
    """Its run folder, with one SAE named `planted`, and another of half the size named `half`."""
    (folder / "texts").mkdir(parents=True)
    for number in range(24):
        (folder / "texts" / f"{number}.txt").write_text(text(120, seed=number))
    model = tiny_gpt2(folder / "model", n_embd=WIDTH, initializer_range=1e-3)
    directions = torch.linalg.qr(torch.randn(WIDTH, WIDTH, generator=torch.Generator().manual_seed(1)))[0]
    _plant(model, directions)
    job = _job(folder, model)
    corpus = Corpus.open(job.corpus, job.seed, job.evaluation.holdout)
    told = {"corpus_fingerprint": corpus.fingerprint, "dtype": "float32"}
    facts = SaeFacts(str(model), (HOOKPOINT,), (HOOKPOINT,), job.corpus.context_tokens, "texts", headrace=told)
    run = Path(job.output)
    run.mkdir()
    (run / "job.yaml").write_text(dump_job(job))
    for name, latents in (("planted", LATENTS), ("half", LATENTS // 2)):
        save_sae(_sae(directions[:latents]), run / "saes" / name, facts)
    return run


def class_of(token: str) -> int | None:
    """The number of the class that a token is of."""
    return next((number for number, letter in enumerate(CLASSES) if letter in token), None)


def tokens_of(model: str | Path) -> list[str]:
    """How each token of the vocabulary reads; special ones, which are no rows, as nothing."""
    tokenizer = AutoTokenizer.from_pretrained(model)
    return [tokenizer.decode([one], skip_special_tokens=True) for one in range(len(tokenizer))]


def _plant(folder: Path, directions: torch.Tensor) -> None:
    model = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        model.transformer.wpe.weight.copy_(BACKGROUND * directions[-1].expand_as(model.transformer.wpe.weight))
        model.transformer.wte.weight.normal_(std=NOISE / WIDTH**0.5, generator=torch.Generator().manual_seed(2))
        for token, shown in enumerate(tokens_of(folder)):
            if (number := class_of(shown)) is not None:
                model.transformer.wte.weight[token] = STRENGTH * directions[number]
    model.save_pretrained(folder)


def _sae(directions: torch.Tensor) -> Relu:
    sae = Relu(WIDTH, len(directions))
    with torch.no_grad():
        sae.W_enc.copy_(directions)
        sae.W_dec.copy_(directions)
        sae.b_enc.fill_(-STRENGTH / 8)
    return sae


def _job(folder: Path, model: Path) -> Job:
    raw = {
        "name": "planted",
        "model": {"name": str(model), "hookpoints": [HOOKPOINT]},
        "corpus": {"source": str(folder / "texts"), "context_tokens": 32, "unit_contexts": 16},
        "trainers": [
            {"name": name, "architecture": "relu_l1", "num_latents": latents, "l1_coefficient": 1.0}
            for name, latents in (("planted", LATENTS), ("half", LATENTS // 2))
        ],
        "tokens": 4000,
        "evaluation": {"holdout": 0.3},
        "output": str(folder / "run"),
    }
    return Job.model_validate(raw)
