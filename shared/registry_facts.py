"""What the registry is told and what it answers: plain frozen values."""

import json
from dataclasses import dataclass, field, fields
from functools import cache
from typing import Any, Self

from shared.job_state import JobState


def dump_json(fields: dict[str, Any]) -> str:
    """As JSON; numbers of NumPy and torch too."""
    return json.dumps(fields, default=lambda value: value.item())


class Record:
    """A flat dataclass that is kept as JSON; keys of another version are left out, missing ones get defaults."""

    def to_json(self) -> str:
        return dump_json(vars(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Raises ValueError for what is no record of this kind."""
        return cls.of(json.loads(text))

    @classmethod
    def of(cls, written: Any) -> Self:
        """As `from_json`, for what was read already."""
        if not isinstance(written, dict):
            raise ValueError(f"{str(written)[:60]!r} is not a record")
        kinds = _kinds(cls)  # type: ignore[arg-type]
        return cls(**{name: _checked(name, value, kinds[name]) for name, value in written.items() if name in kinds})


@cache
def _kinds(record: type) -> dict[str, Any]:
    """Field -> its type."""
    return {one.name: one.type for one in fields(record)}


def _checked(name: str, value: Any, kind: Any) -> Any:
    """`value`, if a field of type `kind` may hold it: an int is a float, a truth is not a number."""
    if isinstance(value, bool):
        is_right = kind is bool
    else:
        is_right = isinstance(value, kind) or (isinstance(value, int) and kind in (float, float | None))
    if not is_right:
        raise ValueError(f"{name} cannot be {str(value)[:60]!r}")
    return value


@dataclass(frozen=True)
class LaneCounters(Record):
    """Where a lane stands. Always pushed = staged + resident + emitted + surplus."""

    head: int = 0
    """Units of this lane that are fully taken in; the lane's unit of this number is the next to be admitted."""
    pushed: int = 0
    """Rows accepted from producers."""
    staged: int = 0
    """Rows that wait in the reorder stage."""
    resident: int = 0
    """Rows in the reservoir."""
    emitted: int = 0
    """Rows in blocks that trainers may ask for; publish before a block is handed out."""
    surplus: int = 0
    """Rows beyond the token budget, dropped."""
    next_block: int = 0
    """The number, in the whole stream, of the next block that this lane emits."""
    open_rows: int = 0
    """Rows of the unit at `head` that are in `pushed` already."""
    satisfied: bool = False
    """The lane has all the rows that it will ever need: no more units for it."""
    rows_per_s: float = 0.0
    block_contexts: float = 0.0
    """Distinct contexts in the newest block."""
    log_first_block: int = 0
    """The oldest block that the lane still holds."""
    log_bytes: int = 0
    """Bytes of blocks that the lane holds in memory."""
    spool_bytes: int = 0
    """Bytes of blocks that it holds on disk."""
    trouble: str = ""
    """Why it cannot do all that it should for now: a sentence."""

    @property
    def has_ended(self) -> bool:
        """It emits no more: trainers pass over the blocks that it would have had, if the corpus had been longer."""
        return self.satisfied and self.resident == 0


@dataclass(frozen=True)
class TrainerCounters(Record):
    """Where a trainer stands. Always rows + gap_rows = the rows of all blocks below cursor."""

    cursor: int = 0
    """The next block that it reads."""
    rows: int = 0
    """Rows read."""
    gap_rows: int = 0
    """Rows below the cursor that it did not read: it joined late, or was detached."""
    state: str = "starting"
    address_digest: str = ""
    bits_digest: str = ""
    steps: int = 0
    fvu: float | None = None
    l0: float | None = None
    dead_fraction: float | None = None
    rows_per_s: float = 0.0
    trouble: str = ""
    """Why it cannot do all that it should for now: a sentence."""


@dataclass(frozen=True)
class EvaluationRecord(Record):
    """How a trainer's SAE did on held-out text, as of a checkpoint."""

    block: int = 0
    """The checkpoint."""
    tokens: int = 0
    """Rows of the stream before it."""
    contexts: int = 0
    """Held-out contexts that this is over."""
    fvu: float | None = None
    l0: float | None = None
    dead_fraction: float | None = None
    """Of latents, over the held-out rows."""
    ce_increase: float | None = None
    """Cross-entropy with the reconstruction in place, less that of the model as it is; nats per token."""
    ce_recovered: float | None = None
    kl_spliced: float | None = None


@dataclass(frozen=True)
class StreamPoint:
    """Where a stream starts: the sizes that fix it, and every lane and trainer at one barrier."""

    num_units: int
    window_units: int
    """Units of one lane that may be in work at once."""
    block_rows: int
    lanes: tuple[LaneCounters, ...]
    trainers: dict[str, TrainerCounters]
    scales: dict[str, float] = field(default_factory=dict)
    """hookpoint -> the factor that was fixed in an earlier run."""
    checkpoint: int | None = None
    """The block of the checkpoint that this is, if it is one."""
    max_attempts: int = 5
    """A unit that came back this often is set aside."""
    held_out_contexts: int = 0
    """About how many contexts of the corpus are in no unit."""

    @staticmethod
    def fresh(num_units: int, window_units: int, block_rows: int, num_lanes: int, trainers: list[str]) -> "StreamPoint":
        """A stream of which nothing was read yet."""
        lanes = tuple(LaneCounters(next_block=lane) for lane in range(num_lanes))
        return StreamPoint(num_units, window_units, block_rows, lanes, {name: TrainerCounters() for name in trainers})


@dataclass(frozen=True)
class Lease:
    """The right to produce one unit."""

    unit: int
    token: int
    attempt: int
    """1 for the unit's first producer."""


@dataclass(frozen=True)
class Wait:
    """No unit at this moment: ask again."""

    reason: str
    """`window`: lanes are behind; `leases`: all that is left is in work; `stream`: it has not begun."""


@dataclass(frozen=True)
class End:
    """No unit is left, nor can one come back, unless a lane is rewound."""


@dataclass(frozen=True)
class DeadUnit:
    """A unit that was set aside."""

    unit: int
    error: str


@dataclass(frozen=True)
class Heartbeat:
    """How long ago, by the server's clock, a role was heard and got on."""

    age_ms: int
    progress: int
    progress_age_ms: int


@dataclass(frozen=True)
class Event:
    """One change of state."""

    id: str
    time_ms: int
    kind: str
    message: str


@dataclass(frozen=True)
class Measurement:
    """What one source measured at one moment."""

    id: str
    time_ms: int
    source: str
    fields: dict[str, float | int | str]


@dataclass(frozen=True)
class JobSummary:
    """One line of `headrace jobs`."""

    name: str
    state: JobState
    message: str
    output: str
    created_ms: int
    driver_age_ms: int | None
    tokens: int
    """Rows that the slowest trainer has read."""
    damage: str = ""
    """Why nothing else is known of it: its record cannot be read."""

    @property
    def is_active(self) -> bool:
        """A driver lives."""
        return not self.state.is_terminal and self.driver_age_ms is not None and self.driver_age_ms < DRIVER_DEAD_MS


DRIVER_DEAD_MS = 15_000
"""A driver that was silent for longer is taken for dead."""
