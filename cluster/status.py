"""How a job stands, from one snapshot: facts for machines here, tables for people in `status_table`."""

from dataclasses import asdict
from typing import Any

from rich.console import Console

from cluster.limiting_stage import ENDED, STREAMING, limiting_stage
from cluster.status_table import jobs_table, status_view
from shared.config import Job
from shared.ledger import Ledger, blocks_below, ledger
from shared.registry_facts import EvaluationRecord, TrainerCounters
from shared.registry_snapshot import LaneFacts, Snapshot

__all__ = ["jobs_table", "limiting_stage", "print_status", "status_facts"]


def status_facts(snapshot: Snapshot, job: Job) -> dict[str, Any]:
    """What `headrace status JOB --json` prints.

    `tokens` and `tokens_per_s` are those of the slowest trainer, `blocks` those that lanes have emitted, so that a
    trainer's `lag_blocks` is `blocks` less its own.
    """
    lost = snapshot.job.has_lost_driver
    balance, limit = ledger(snapshot), None if lost else limiting_stage(snapshot, job)
    trainers = [
        _trainer(name, snapshot.trainers[name], balance, job, snapshot.evaluations.get(name))
        for name in _in_order(snapshot, job)
    ]
    return {
        "job": snapshot.job.name,
        "state": str(snapshot.job.state),
        "message": snapshot.job.message,
        "output": snapshot.job.output,
        "tokens": min((one["tokens"] for one in trainers), default=0),
        "tokens_wanted": job.tokens,
        "tokens_per_s": tokens_per_s(snapshot),
        "seconds_left": seconds_left(snapshot, job),
        "blocks": blocks_emitted(snapshot),
        "blocks_wanted": job.num_blocks,
        "checkpoint": snapshot.job.checkpoint,
        "held_out_contexts": snapshot.job.held_out_contexts,
        "limiting_stage": limit.stage if limit else None,
        "limiting_reason": limit.reason if limit else None,
        "has_lost_driver": lost,
        "driver_age_s": _seconds(snapshot.job.driver_age_ms),
        "producers": _producers(snapshot),
        "lanes": [_lane(number, lane, job) for number, lane in enumerate(snapshot.lanes)],
        "ledger": _ledger(balance),
        "units_set_aside": [{"unit": one.unit, "error": one.error} for one in snapshot.units.dead],
        "trainers": trainers,
    }


def print_status(snapshot: Snapshot, job: Job, console: Console) -> None:
    """The same for people."""
    console.print(status_view(status_facts(snapshot, job), console.width), soft_wrap=False)


def blocks_emitted(snapshot: Snapshot) -> int:
    """Blocks that lanes have ever given."""
    lanes = snapshot.lanes
    return sum(blocks_below(lane.high_block, number, len(lanes)) for number, lane in enumerate(lanes))


def tokens_per_s(snapshot: Snapshot) -> float:
    """Of the slowest trainer that still reads; 0 where nothing streams."""
    return min((one.rows_per_s for one in _reading(snapshot)), default=0.0)


def seconds_left(snapshot: Snapshot, job: Job) -> float | None:
    """Until the last trainer has read everything, at the rates of now; None where one does not move."""
    times = [(job.tokens - _position(one)) / one.rows_per_s if one.rows_per_s else None for one in _reading(snapshot)]
    known = [time for time in times if time is not None]
    return max(0.0, *known) if known and len(known) == len(times) else None


def _reading(snapshot: Snapshot) -> list[TrainerCounters]:
    if snapshot.job.state not in STREAMING or snapshot.job.has_lost_driver:
        return []
    return [one for one in snapshot.trainers.values() if one.state not in ENDED]


def _position(one: TrainerCounters) -> int:
    """Rows of the stream that lie behind a trainer, read or passed over."""
    return one.rows + one.gap_rows


def _in_order(snapshot: Snapshot, job: Job) -> list[str]:
    """Trainers as the job file has them, then any others."""
    order = {trainer.name: index for index, trainer in enumerate(job.trainers)}
    return sorted(snapshot.trainers, key=lambda name: (order.get(name, len(order)), name))


def _trainer(
    name: str, one: TrainerCounters, balance: Ledger, job: Job, evaluation: EvaluationRecord | None
) -> dict[str, Any]:
    config = next((trainer for trainer in job.trainers if trainer.name == name), None)
    entry = next(entry for entry in balance.trainers if entry.name == name)
    return {
        "name": name,
        "state": one.state,
        "architecture": config.architecture if config else None,
        "hookpoint": config.place(job.model.hookpoints) if config else None,
        "num_latents": config.num_latents if config else None,
        "tokens": one.rows,
        "gap_tokens": one.gap_rows,
        "share": min(1.0, _position(one) / job.tokens),
        "tokens_per_s": one.rows_per_s,
        "blocks": one.cursor,
        "lag_blocks": entry.lag_blocks,
        "steps": one.steps,
        "fvu": one.fvu,
        "l0": one.l0,
        "dead_fraction": one.dead_fraction,
        "digest": one.address_digest,
        "bits_digest": one.bits_digest,
        "evaluation": asdict(evaluation) if evaluation else None,
    }


def _producers(snapshot: Snapshot) -> list[dict[str, Any]]:
    """Those that are heard, or hold a unit."""
    holders = set(snapshot.units.leased.values())
    names = holders | {role for role in snapshot.heartbeats if role.startswith("producer-")}
    return [_producer(name, snapshot) for name in sorted(names, key=lambda name: (len(name), name))]


def _producer(name: str, snapshot: Snapshot) -> dict[str, Any]:
    beat = snapshot.heartbeats.get(name)
    return {
        "name": name,
        "units": [unit for unit, holder in snapshot.units.leased.items() if holder == name],
        "heard_s_ago": _seconds(beat.age_ms if beat else None),
        "progress_s_ago": _seconds(beat.progress_age_ms if beat else None),
    }


def _lane(number: int, lane: LaneFacts, job: Job) -> dict[str, Any]:
    one = lane.counters
    return {
        "name": f"lane-{number}",
        "next_block": one.next_block,
        "rows_per_s": one.rows_per_s,
        "resident": one.resident,
        "staged": one.staged,
        "emitted": one.emitted,
        "buffer_rows": job.stream.buffer_rows,
        "block_contexts": one.block_contexts,
        "log_first_block": one.log_first_block,
        "log_bytes": one.log_bytes,
        "spool_bytes": one.spool_bytes,
        "log_bytes_limit": job.stream.log_bytes,
    }


def _ledger(balance: Ledger) -> dict[str, Any]:
    imbalances = balance.imbalances()
    names = ("leased", "pushed", "staged", "resident", "emitted", "surplus")
    rows = {name: getattr(balance, name) for name in names}
    read = {one.name: {"read": one.read, "gap": one.gap, "below_cursor": one.below_cursor} for one in balance.trainers}
    return {**rows, "trainers": read, "balances": not imbalances, "imbalances": imbalances}


def _seconds(age_ms: int | None) -> float | None:
    return None if age_ms is None else age_ms / 1000
