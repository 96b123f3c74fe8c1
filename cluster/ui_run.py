"""One run as the page shows it: what its folder tells, and what the registry knows while it runs. Pure."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from cluster.pareto import on_front
from cluster.plot import COLOURS, DASHES
from cluster.report_held_out import held_out
from cluster.report_plots import plots
from cluster.run_facts import RunFacts, SaeRow
from cluster.status import status_facts
from cluster.ui_live import Live
from cluster.watch import driver_is_gone
from shared.config import Job
from shared.ledger import ledger

NOT_RUNNING = "not running"
LOST = "driver lost"
NEWEST_EVENTS = 200


def run_view(run: RunFacts, live: Live | None, features: list[str]) -> dict[str, Any]:
    """A run's page; `features` are the SAEs whose features were collected."""
    status = status_facts(live.snapshot, run.job) if live else None
    events = [asdict(one) for one in live.events] if live else run.events
    return {
        "name": run.job.name,
        "state": state_of(run.folder, run.job, live, events),
        "is_live": is_live(live),
        "message": status["message"] if status else "",
        "status": status,
        "about": about(run.job),
        "software": run.software,
        "span_ms": run.curves.span_ms,
        "saes": _saes(run, status, features),
        "held_out": held_out(run.saes),
        "missing": [] if live else run.missing,
        "ledger": _ledger(run, live),
        "events": events[-NEWEST_EVENTS:][::-1],
    }


def run_plots(run: RunFacts) -> list[dict[str, Any]]:
    """Every figure as plotly.js takes it."""
    return [
        {"id": one.id, "title": one.title, "note": one.note, "figure": one.figure.to_plotly_json()}
        for one in plots(run)
    ]


def is_live(live: Live | None) -> bool:
    """Whether a driver lives, so that the page must look again."""
    return live is not None and not live.snapshot.job.state.is_terminal and not driver_is_gone(live.snapshot)


def state_of(folder: Path, job: Job, live: Live | None, events: list[dict[str, Any]]) -> str:
    """A state of `JobState`, or `driver lost`; of a run that no registry knows, by its files."""
    if live is not None:
        return LOST if driver_is_gone(live.snapshot) else str(live.snapshot.job.state)
    if all((folder / "saes" / one.name / "cfg.json").is_file() for one in job.trainers):
        return "finished"
    last = [str(one.get("message", "")) for one in events if isinstance(one, dict) and one.get("kind") == "state"]
    state = last[-1].partition(" -> ")[2].partition(":")[0] if last else ""
    return state if state in ("stopped", "failed", "finished") else NOT_RUNNING


def about(job: Job) -> dict[str, Any]:
    """What the job is made of; nothing that may hold a password, such as the registry's URL."""
    source = job.corpus.source
    return {
        "model": job.model.name + (f" at {job.model.revision}" if job.model.revision else ""),
        "hookpoints": list(job.model.hookpoints),
        "corpus": source if isinstance(source, str) else ", ".join(source),
        "context_tokens": job.corpus.context_tokens,
        "producers": job.producers.count,
        "lanes": job.stream.lanes,
        "buffer_rows": job.stream.buffer_rows,
        "block_rows": job.stream.block_rows,
        "seed": job.seed,
        "tokens": job.tokens,
    }


def _saes(run: RunFacts, status: dict[str, Any] | None, features: list[str]) -> list[dict[str, Any]]:
    """Every SAE, with the newest numbers that there are, and whether it is on the front of L0 and FVU."""
    now = {one["name"]: one for one in status["trainers"]} if status else {}
    rows = [_sae(one, index, now.get(one.name), one.name in features) for index, one in enumerate(run.saes)]
    measured = [row for row in rows if row["l0"] is not None and row["fvu"] is not None]
    for row, is_best in zip(measured, on_front([(row["l0"], row["fvu"]) for row in measured]), strict=True):
        row["on_front"] = is_best
    return rows


def _sae(one: SaeRow, index: int, now: dict[str, Any] | None, has_features: bool) -> dict[str, Any]:
    row = {**asdict(one), "state": "finished" if one.path else "in training", "lag_blocks": None, "share": None}
    known = ("state", "tokens", "tokens_per_s", "lag_blocks", "share", "fvu", "l0", "dead_fraction")
    row |= {name: now[name] for name in known if now and now[name] is not None}
    style = {"colour": COLOURS[index % len(COLOURS)], "dash": DASHES[index // len(COLOURS) % len(DASHES)]}
    return {**row, **style, "on_front": False, "has_features": has_features}


def _ledger(run: RunFacts, live: Live | None) -> dict[str, Any] | None:
    """As ledger.json has it; of this moment, if there is one."""
    if live is None:
        return run.ledger
    now = ledger(live.snapshot)
    return {**asdict(now), "imbalances": now.imbalances()}
