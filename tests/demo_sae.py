"""An SAE like a demo's topk-1024, in seconds: of a few thousand tokens of the demo's language model."""

import argparse
import inspect
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from shared.active_configs import TopKConfig
from shared.row_table import Rows
from trainers import SaeFacts, Trainer, activation_scale

MODEL = "examples/demo_lm/model"
HOOKPOINT = ("transformer.h.3",)


def demo_tokens(num_tokens: int = 1920) -> Tensor:
    """int64 [contexts, 128] of a module of the standard library."""
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    ids = tokenizer(inspect.getsource(argparse), return_tensors="pt", verbose=False).input_ids
    return ids[:, :num_tokens].view(-1, 128)


def train_demo_sae(folder: Path, num_tokens: int = 1920, passes: int = 10) -> None:
    """Writes it to `folder`."""
    model = AutoModelForCausalLM.from_pretrained(MODEL)
    with torch.no_grad():
        states = model(demo_tokens(num_tokens), output_hidden_states=True).hidden_states[4]
    rows = states.flatten(0, 1).numpy()
    config = TopKConfig(name="t", architecture="topk", num_latents=1024, k=16, batch_rows=480, lr=5e-3)
    trainer = Trainer(config, {HOOKPOINT[0]: 128}, seed=0, total_rows=passes * len(rows))
    trainer.fix_scales({HOOKPOINT[0]: activation_scale(torch.from_numpy(rows))})
    for block in range(passes):
        trainer.read(block, Rows(np.zeros((len(rows), 5), np.int32), {HOOKPOINT[0]: rows}))
    trainer.save_sae(folder, SaeFacts(MODEL, HOOKPOINT, HOOKPOINT, 128, "stdlib"))
