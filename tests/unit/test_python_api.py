"""docs/python_api.md: every example in it runs, in its order, on a demo's SAE and the demo's language model."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"

import argparse
import inspect
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from shared.row_table import Rows
from shared.trainer_config import TopKConfig
from trainers import SaeFacts, Trainer, activation_scale

ROOT = Path(__file__).parents[2]
EXAMPLES = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs" / "python_api.md").read_text(), re.DOTALL | re.MULTILINE)
HOOKPOINT = ("transformer.h.3",)


def demo_sae(folder: Path) -> None:
    """What a demo's topk-1024 is, from a few thousand tokens."""
    model = AutoModelForCausalLM.from_pretrained("examples/demo_lm/model")
    tokenizer = AutoTokenizer.from_pretrained("examples/demo_lm/model")
    ids = tokenizer(inspect.getsource(argparse), return_tensors="pt").input_ids[:, :1920].view(-1, 128)
    with torch.no_grad():
        rows = model(ids, output_hidden_states=True).hidden_states[4].flatten(0, 1).numpy()
    config = TopKConfig(name="t", architecture="topk", num_latents=1024, k=16, batch_rows=480, lr=5e-3)
    trainer = Trainer(config, {HOOKPOINT[0]: 128}, seed=0, total_rows=10 * len(rows))
    trainer.fix_scales({HOOKPOINT[0]: activation_scale(torch.from_numpy(rows))})
    for block in range(10):
        trainer.read(block, Rows(np.zeros((len(rows), 5), np.int32), {HOOKPOINT[0]: rows}))
    trainer.save_sae(folder, SaeFacts("examples/demo_lm/model", HOOKPOINT, HOOKPOINT, 128, "stdlib"))


def test_every_example_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("examples").symlink_to(ROOT / "examples")
    demo_sae(Path("runs/demo/saes/topk-1024"))
    assert len(EXAMPLES) == 6
    names: dict[str, Any] = {}
    for example in EXAMPLES:
        exec(compile(example, "docs/python_api.md", "exec"), names)
    said = capsys.readouterr().out
    assert "TopK(d_in=128, num_latents=1024, k=16)\nexamples/demo_lm/model ('transformer.h.3',)\n" in said
    assert names["spliced"] > names["clean"] + 0.01
    excluded = names["batch"].attention_mask == 0
    assert excluded.any() and not names["attached"].acts[excluded].any() and names["attached"].acts[~excluded].any()
    plain, steered, ablated = said.split("def area(self):")[1:4]
    assert plain != steered and steered != ablated
