"""Runs as they might be, with SAEs whose quality follows a known law and whose latents are known to each other."""

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import torch
import yaml
from torch import Tensor

from trainers.sae_facts import SaeFacts
from trainers.saelens_format import save_sae
from trainers.topk import TopK
from trainers.trainer import Report

D_IN = 32
HOOKPOINT = "transformer.h.1"
MODEL = "a/model"


def quality(num_latents: int, k: int, tokens: int) -> float:
    """The law that SAEs of a suite follow."""
    return 0.02 + 1.5 * num_latents**-0.4 * k**-0.3 + 20.0 * tokens**-0.4


def directions(num_latents: int) -> Tensor:
    """The same for every SAE of a suite, as far as it is wide."""
    return torch.randn(4096, D_IN, generator=torch.Generator().manual_seed(0))[:num_latents]


def write_suite(
    folder: Path,
    sizes: Iterable[int] = (32, 64, 128, 256),
    ks: Iterable[int] = (4,),
    tokens: int = 100_000,
    evaluated: Iterable[str] = (),
    unfinished: Iterable[str] = (),
    **job: object,
) -> Path:
    """A run folder with a TopK SAE `topk-<size>-k<k>` for each combination."""
    folder.mkdir(parents=True)
    trainers = [
        {"name": f"topk-{size}-k{k}", "architecture": "topk", "num_latents": size, "k": k} for size in sizes for k in ks
    ]
    raw = {"name": folder.name, "model": {"name": MODEL, "hookpoints": [HOOKPOINT]}, "corpus": {"source": "text"}}
    (folder / "job.yaml").write_text(yaml.safe_dump({**raw, "trainers": trainers, "tokens": tokens, **job}))
    for one in trainers:
        if one["name"] not in unfinished:
            write_sae(folder / "saes" / str(one["name"]), int(one["num_latents"]), int(one["k"]), tokens)
    for name in evaluated:
        write_evaluation(folder / "saes" / name)
    return folder


def write_sae(folder: Path, num_latents: int, k: int, tokens: int) -> None:
    """The last latent never fired."""
    sae = TopK(D_IN, num_latents, k)
    with torch.no_grad():
        sae.W_dec.copy_(directions(num_latents))
    fvu, rest = quality(num_latents, k, tokens), {"dead_fraction": 1 / num_latents, "losses": {}, "lr": 0.0}
    report = Report(tokens=tokens, steps=9, cursor=9, fvu=fvu, l0=float(k), **rest)
    frequencies = torch.full((num_latents,), 0.01)
    frequencies[-1] = 0
    save_sae(sae, folder, SaeFacts(MODEL, (HOOKPOINT,), (HOOKPOINT,), 128, "text"), asdict(report), frequencies)


def write_evaluation(folder: Path) -> None:
    """As `headrace evaluate` leaves it: a little worse than in training."""
    metrics = json.loads((folder / "metrics.json").read_text())
    facts = {"fvu": metrics["fvu"] + 0.01, "l0": metrics["l0"], "splice": {"ce_increase": metrics["fvu"] / 2}}
    (folder / "evaluation.json").write_text(json.dumps(facts))
