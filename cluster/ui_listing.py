"""A run in the page's list: little, since there may be hundreds, each looked at every few seconds."""

import json
from pathlib import Path
from typing import Any

from cluster.job_place import JOB_FILE
from cluster.status import status_facts
from cluster.ui_live import Live
from cluster.ui_run import about, is_live, state_of
from shared.config import Job
from shared.registry_facts import JobSummary

STATUS = ("tokens", "tokens_per_s", "seconds_left", "limiting_stage")
SAE = ("name", "architecture", "num_latents", "fvu", "l0", "dead_fraction", "tokens", "state", "lag_blocks")


def listed(folder: Path, job: Job, live: Live | None) -> dict[str, Any]:
    """A run by what the registry says of it, or else by its files."""
    events = [] if live else read_json(folder / "events.json", list) or []
    return {
        "id": folder.name,
        "name": job.name,
        "state": state_of(folder, job, live, events),
        "is_live": is_live(live),
        "message": live.snapshot.job.message if live else "",
        "changed_ms": int((folder / JOB_FILE).stat().st_mtime * 1000),
        "tokens_wanted": job.tokens,
        "model": about(job)["model"],
        "hookpoints": list(job.model.hookpoints),
        "features": len(list((folder / "features").glob("*/meta.json"))),
        **(_now(live, job) if live else _stored(folder, job)),
    }


def damaged(name: str, message: str) -> dict[str, Any]:
    """A run whose job file cannot be read."""
    return {"id": name, "name": name, "state": "damaged", "is_live": False, "message": message, "saes": []}


def elsewhere(one: JobSummary) -> dict[str, Any]:
    """A job of the registry whose folder is not among the runs."""
    return {"name": one.name, "state": str(one.state), "output": one.output, "tokens": one.tokens}


def read_json(path: Path, kind: type) -> Any:
    """What a file holds; None where that is not a `kind`."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, kind) else None


def _now(live: Live, job: Job) -> dict[str, Any]:
    status = status_facts(live.snapshot, job)
    saes = [{key: one[key] for key in SAE} for one in status["trainers"]]
    return {**{key: status[key] for key in STATUS}, "saes": saes}


def _stored(folder: Path, job: Job) -> dict[str, Any]:
    """Of a finished SAE its metrics.json; of one in training what the ledger says that it has read."""
    ledger = read_json(folder / "ledger.json", dict) or {}
    read = {one["name"]: one["read"] for one in ledger.get("trainers", []) if isinstance(one, dict) and "read" in one}
    saes = [
        {
            "name": one.name,
            "architecture": one.architecture,
            "num_latents": one.num_latents,
            **_metrics(folder, one.name),
        }
        for one in job.trainers
    ]
    tokens = [one.get("tokens") or read.get(one["name"], 0) for one in saes]
    return {"tokens": min(tokens, default=0), "saes": saes}


def _metrics(folder: Path, name: str) -> dict[str, Any]:
    found = read_json(folder / "saes" / name / "metrics.json", dict) or {}
    return {key: found.get(key) for key in ("tokens", "fvu", "l0", "dead_fraction")}
