"""The job that is soaked: a small model, a lane with a spool, two producers, three trainers; one sets the pace."""

from pathlib import Path
from typing import Any

import yaml

from shared.config import Job
from shared.job_file import parse_job
from tests.paced import ARCHITECTURE
from tests.tiny_models import text, tiny_gpt2

BLOCK_ROWS = 1000
STOP_S = 1200.0
"""All save at one block: the slowest first reads what is in the spool."""
CHURNED = ("producer-1", "trainer-topk", "trainer-relu")
"""Are killed and replaced. All others live to the end: what leaks a little each minute is seen in those."""


def make_soak_job(folder: Path, rows_per_s: float) -> Job:
    """A job without an end, in `folder`, whose slowest trainer reads so many rows a second."""
    corpus = folder / "corpus"
    corpus.mkdir(parents=True)
    for index in range(40):
        (corpus / f"{index:02}.txt").write_text(text(1500, seed=index))
    topk: dict[str, Any] = {"num_latents": 128, "k": 8, "batch_rows": 500}
    pace = {"name": "pace", "architecture": ARCHITECTURE, **topk, "pause_ms": 1000 * topk["batch_rows"] / rows_per_s}
    raw = {
        "name": "soak",
        "model": {"name": str(tiny_gpt2(folder / "gpt2")), "hookpoints": ["transformer.h.1"]},
        "corpus": {
            "source": f"{corpus}/*.txt",
            "context_tokens": 64,
            "unit_contexts": 32,
            "epochs": 1000,
        },
        "producers": {"count": 2, "contexts_per_forward": 8},
        "stream": {"buffer_rows": 8000, "block_rows": BLOCK_ROWS, "log_bytes": "1MiB", "spool_bytes": "48MiB"},
        "trainers": [
            pace,
            {"name": "topk", "architecture": "topk", **topk},
            {"name": "relu", "architecture": "relu_l1", "num_latents": 64, "batch_rows": 250, "lr": 0.001},
        ],
        "tokens": 1_000_000_000,
        "checkpoint": {"every_blocks": 50, "keep": 2, "stop_within_s": STOP_S},
        "output": str(folder / "runs" / "soak"),
    }
    return parse_job(yaml.safe_dump(raw))
