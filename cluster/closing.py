"""What a run prints at its end: the SAEs, where everything is, what to type next."""

import json
import os
import re
import shutil
import sys
from pathlib import Path
from shlex import quote
from typing import Any

from rich.console import Console

from cluster.controller import Outcome
from cluster.curves import Curves
from cluster.metrics_store import read_metrics
from cluster.progress import final_table
from shared.config import Job


def print_closing(job: Job, outcome: Outcome, console: Console) -> None:
    """For a job that has finished, or was stopped."""
    if outcome is not Outcome.FINISHED:
        how = "saved" if outcome is Outcome.STOPPED else "not all was saved"
        console.print(f"{how}; go on with: {command()} resume {quote(job.output)}", markup=False, highlight=False)
        return
    curves = Curves.of(read_metrics(Path(job.output)))
    console.print(final_table(job, [_row(job, trainer.name, curves) for trainer in job.trainers]))
    console.print(f"report  {job.output}/report.html")
    console.print(f"SAEs    {job.output}/saes/   (SAELens opens each folder as it is)\n")
    console.print("next:")
    for line in next_commands(job):
        console.print(f"  {line}", markup=False, highlight=False)


def next_commands(job: Job) -> list[str]:
    """What to type next, as it works in the shell that the run was typed in."""
    run, first = quote(job.output), f"{job.output}/saes/{job.trainers[0].name}"
    python = "python" if shutil.which("headrace") else os.path.relpath(sys.executable)
    return [
        f"{command()} status {run}",
        *([f"{command()} evaluate {run}"] if _has_held_out_text(Path(job.output)) else []),
        f"{command()} features collect {run}",
        f"{command()} ui {run}",
        f"{python} -c {_program(f'from trainers import load_sae; print(load_sae({first!r}))')}",
        f"{python} -c {_program(f'from sae_lens import SAE; print(SAE.load_from_disk({first!r}).cfg)')}",
    ]


def _program(text: str) -> str:
    """For a shell; in double quotes where that is enough, which read better around Python's single ones."""
    return quote(text) if re.search(r'["$`\\!]', text) else f'"{text}"'


def _has_held_out_text(run_folder: Path) -> bool:
    ledger = run_folder / "ledger.json"
    return ledger.is_file() and bool(json.loads(ledger.read_bytes()).get("held_out_contexts"))


def command() -> str:
    """`headrace`, or what stands for it in a shell that does not find it."""
    return "headrace" if shutil.which("headrace") else f"{os.path.relpath(sys.executable)} -m cluster"


def _row(job: Job, name: str, curves: Curves) -> dict[str, Any]:
    metrics = json.loads((Path(job.output) / "saes" / name / "metrics.json").read_text())
    return {"name": name, **metrics, "tokens_per_s": curves.median(f"trainer-{name}", "rows_per_s")}
