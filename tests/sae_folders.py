"""Folders with SAEs of random weights, as a job leaves them."""

import json
from pathlib import Path

import torch

from trainers.sae_facts import SaeFacts
from trainers.saelens_format import save_sae
from trainers.topk import TopK

D_IN, NUM_LATENTS = 16, 48
HOOKPOINT = ("transformer.h.1",)
FACTS = SaeFacts("openai-community/gpt2", HOOKPOINT, HOOKPOINT, 64, "hf://me/text:train", headrace={"tokens": 12345})
METRICS = {"tokens": 12345, "steps": 7, "fvu": 0.25, "l0": 4.0, "dead_fraction": 0.125, "losses": {"loss": 0.3}}


def random_topk(seed: int = 0, k: int = 4) -> TopK:
    return randomised(TopK(D_IN, NUM_LATENTS, k), seed)


def randomised(sae: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in sae.parameters():
            parameter.normal_(0, 0.3, generator=generator)
    return sae


def topk_folder(folder: Path, facts: SaeFacts = FACTS, seed: int = 0) -> Path:
    save_sae(random_topk(seed), folder, facts, METRICS, torch.full((NUM_LATENTS,), 0.1))
    return folder


def run_folder(folder: Path, *names: str) -> Path:
    for seed, name in enumerate(names):
        topk_folder(folder / "saes" / name, seed=seed)
    (folder / "job.yaml").write_text(json.dumps({"name": folder.name}))
    return folder
