"""Everything that the registry knows of a job at one moment, read by one script."""

from dataclasses import dataclass, field
from typing import Any

from shared.job_state import JobState
from shared.registry_facts import DRIVER_DEAD_MS, DeadUnit, EvaluationRecord, Heartbeat, LaneCounters, TrainerCounters


@dataclass(frozen=True)
class JobFacts:
    """The job as a whole."""

    name: str
    state: JobState
    message: str
    output: str
    created_ms: int
    driver_age_ms: int | None
    stop_requested: bool
    checkpoint: int | None
    """The newest complete checkpoint."""
    num_units: int
    block_rows: int
    held_out_contexts: int = 0
    """About how many contexts of the corpus are in no unit, and so before no trainer."""

    @property
    def has_lost_driver(self) -> bool:
        """It should run, and its driver has not been heard of for too long."""
        return not self.state.is_terminal and self.driver_age_ms is not None and self.driver_age_ms > DRIVER_DEAD_MS


@dataclass(frozen=True)
class LaneFacts:
    """A lane as it published itself, and what the registry keeps about it."""

    counters: LaneCounters
    announced: int
    """Rows of all units of the lane whose size is known."""
    next_unit: int
    """The lane-local number of the next unit that was never leased."""
    high_block: int
    """The highest `next_block` ever, which a lane that was restored is still below."""
    high_emitted: int
    """Rows emitted when `next_block` was at its highest."""
    high_ended: bool = False
    """It has ended before, and does so again at the same block: trainers may be beyond its end already."""


@dataclass(frozen=True)
class UnitFacts:
    """The units that are neither untouched nor done."""

    leased: dict[int, str]
    """unit -> producer."""
    finished: tuple[int, ...]
    """Every chunk is pushed, and their lane has not taken them in yet."""
    ready: tuple[int, ...]
    """Came back, and wait for another producer."""
    dead: tuple[DeadUnit, ...]


@dataclass(frozen=True)
class Snapshot:
    """One moment of a job; `time_ms` is the server's."""

    time_ms: int
    job: JobFacts
    lanes: tuple[LaneFacts, ...]
    trainers: dict[str, TrainerCounters]
    units: UnitFacts
    checkpoints: tuple[int, ...]
    scales: dict[str, float]
    heartbeats: dict[str, Heartbeat]
    evaluations: dict[str, EvaluationRecord] = field(default_factory=dict)
    """Of trainers that were measured on held-out text while they trained."""


def pairs(flat: list[str]) -> dict[str, str]:
    """A hash as a script returns it: `[field, value, field, value …]`."""
    return dict(zip(flat[::2], flat[1::2], strict=True))


def parse_snapshot(name: str, reply: list[Any]) -> Snapshot:
    """What snapshot.lua answers, as a Snapshot."""
    now, job, lanes, marks, trainers, leases, ready, grants, rows, dead, checkpoints, scales, beats, found = reply
    facts = pairs(job)
    return Snapshot(
        time_ms=now,
        job=_job(name, facts, now),
        lanes=_lanes(pairs(lanes), pairs(marks), pairs(rows)),
        trainers={trainer: TrainerCounters.from_json(text) for trainer, text in sorted(pairs(trainers).items())},
        units=_units(leases, ready, pairs(grants), dead),
        checkpoints=tuple(map(int, checkpoints)),
        scales={hookpoint: float(value) for hookpoint, value in pairs(scales).items()},
        heartbeats=parse_heartbeats(now, beats),
        evaluations={name: EvaluationRecord.from_json(text) for name, text in sorted(pairs(found).items())},
    )


def parse_heartbeats(now: int, flat: list[str]) -> dict[str, Heartbeat]:
    """role -> Heartbeat, from `ms progress progress_ms`."""
    beats = {role: tuple(map(int, text.split())) for role, text in sorted(pairs(flat).items())}
    return {role: Heartbeat(now - at, progress, now - moved) for role, (at, progress, moved) in beats.items()}


def parse_dead(flat: list[str]) -> tuple[DeadUnit, ...]:
    """In the order of their numbers."""
    return tuple(DeadUnit(unit, error) for unit, error in sorted((int(u), e) for u, e in pairs(flat).items()))


def age_ms(now: int, then: str | None) -> int | None:
    """ms since `then`; None if it never was."""
    return max(0, now - int(then)) if then else None


def _job(name: str, facts: dict[str, str], now: int) -> JobFacts:
    return JobFacts(
        name=name,
        state=JobState(facts["state"]),
        message=facts.get("message", ""),
        output=facts["output"],
        created_ms=int(facts["created_ms"]),
        driver_age_ms=age_ms(now, facts.get("driver_ms")),
        stop_requested="stop_ms" in facts,
        checkpoint=int(facts["checkpoint"]) if "checkpoint" in facts else None,
        num_units=int(facts.get("num_units", 0)),
        block_rows=int(facts.get("block_rows", 0)),
        held_out_contexts=int(facts.get("held_out_contexts", 0)),
    )


def _lanes(records: dict[str, str], marks: dict[str, str], rows: dict[str, str]) -> tuple[LaneFacts, ...]:
    count = len(records)
    announced = [int(marks[f"base:{lane}"]) for lane in range(count)]
    for unit, number in rows.items():
        announced[int(unit) % count] += int(number)
    for lane in range(count):  # after a restore, rows of the head unit are in before it is announced anew
        at_head = LaneCounters.from_json(records[str(lane)])
        if str(lane + count * at_head.head) not in rows:
            announced[lane] += at_head.open_rows
    return tuple(
        LaneFacts(
            counters=LaneCounters.from_json(records[str(lane)]),
            announced=max(announced[lane], int(marks[f"floor:{lane}"])),
            next_unit=int(marks[f"next:{lane}"]),
            high_block=int(marks[f"high_block:{lane}"]),
            high_emitted=int(marks[f"high_emitted:{lane}"]),
            high_ended=marks[f"high_ended:{lane}"] == "1",
        )
        for lane in range(count)
    )


def _units(leases: list[str], ready: list[str], grants: dict[str, str], dead: list[str]) -> UnitFacts:
    """A unit that was granted and is not leased any more is finished."""
    leased = {int(unit): grants[unit].partition(" ")[2] for unit in sorted(leases, key=int)}
    finished = sorted(int(unit) for unit in grants.keys() - set(leases))
    return UnitFacts(leased, tuple(finished), tuple(map(int, ready)), parse_dead(dead))
