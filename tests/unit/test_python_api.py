"""docs/python_api.md: every example in it runs, in its order, on a demo's SAE and the demo's language model."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"

import re
from pathlib import Path
from typing import Any

import pytest
from demo_sae import train_demo_sae

ROOT = Path(__file__).parents[2]
EXAMPLES = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs" / "python_api.md").read_text(), re.DOTALL | re.MULTILINE)


def test_every_example_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("examples").symlink_to(ROOT / "examples")
    train_demo_sae(Path("runs/demo/saes/topk-1024"))
    assert len(EXAMPLES) == 9
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
    assert names["compared"].kl[0].shape == (12,) and names["compared"].kl[0].mean() > 0
    assert names["doses"][0].kl == 0 < names["doses"][1].kl < names["doses"][2].kl
    assert names["effects"].kl[0, -1] > 0 and names["effects"].up_logits.changes[0, -1, 0] > 0
