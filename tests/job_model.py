"""What the registry must know of a job as a whole, in Python that is too simple to be wrong: dicts and sets."""

from dataclasses import dataclass, field, replace

from shared.job_state import TRANSITIONS, JobState
from shared.registry_facts import DRIVER_DEAD_MS, Heartbeat, LaneCounters, StreamPoint, TrainerCounters
from shared.registry_snapshot import Snapshot


@dataclass(frozen=True)
class LaneModel:
    """A lane as it said last, and the farthest that it ever was."""

    counters: LaneCounters
    high_block: int
    high_emitted: int
    high_ended: bool

    @staticmethod
    def at(counters: LaneCounters) -> "LaneModel":
        return LaneModel(counters, counters.next_block, counters.emitted, counters.has_ended)

    def published(self, now: LaneCounters) -> "LaneModel":
        one = replace(self, counters=now, high_ended=self.high_ended or now.has_ended)
        if now.next_block < self.high_block:
            return one
        return replace(one, high_block=now.next_block, high_emitted=now.emitted)


@dataclass
class JobModel:
    """A job that has just been claimed; every method is one transition that is allowed."""

    output: str
    driver_ms: int
    """When the driver was heard last."""
    state: JobState = JobState.STARTING
    message: str = ""
    stop_requested: bool = False
    num_units: int = 0
    """0: its stream has not begun."""
    roles: dict[str, int] = field(default_factory=dict)
    beats: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    """Role -> when it was heard, its progress, since when it is that."""
    lanes: list[LaneModel] = field(default_factory=list)
    trainers: dict[str, TrainerCounters] = field(default_factory=dict)
    scales: dict[str, float] = field(default_factory=dict)
    parts: dict[int, set[str]] = field(default_factory=dict)
    """Block -> who has saved there, while not all have."""
    checkpoints: set[int] = field(default_factory=set)
    checkpoint: int | None = None
    completed_by: tuple[int, str] | None = None

    def refusal(self, output: str, resume: bool, now_ms: int) -> str:
        """What another driver is told that claims the job; empty when it may have it."""
        is_here = output == self.output
        if not self.state.is_terminal and abs(now_ms - self.driver_ms) < DRIVER_DEAD_MS:
            return "is already running"
        if resume:
            return "there is nothing to resume" if self.state is JobState.FINISHED and is_here else ""
        if not self.num_units:
            return ""
        if is_here:
            return "is finished in" if self.state is JobState.FINISHED else f"has begun before .it is {self.state}."
        return "" if self.state is JobState.FINISHED else f"is {self.state} in {self.output}"

    def resumed(self, output: str, now_ms: int) -> "JobModel":
        """Another driver goes on with it: what is known of the stream stays, no role does."""
        return replace(
            self,
            output=output,
            driver_ms=now_ms,
            state=JobState.STARTING,
            message="",
            stop_requested=False,
            roles={},
            beats={},
        )

    def may_become(self, state: JobState) -> bool:
        return state is self.state or state in TRANSITIONS[self.state]

    def begin_stream(self, point: StreamPoint) -> None:
        self.num_units = point.num_units
        self.roles, self.beats, self.parts, self.completed_by = {}, {}, {}, None
        self.lanes = [LaneModel.at(counters) for counters in point.lanes]
        self.trainers, self.scales, self.checkpoint = dict(point.trainers), dict(point.scales), point.checkpoint
        kept = -1 if point.checkpoint is None else point.checkpoint
        self.checkpoints = {block for block in self.checkpoints if block < kept} | ({kept} - {-1})

    def claim_role(self, role: str, token: int) -> None:
        self.roles[role] = token
        self.beats.pop(role, None)

    def remove_trainer(self, name: str) -> None:
        self.trainers.pop(name, None)
        self.roles.pop(f"trainer-{name}", None)
        self.beats.pop(f"trainer-{name}", None)

    def heartbeat(self, role: str, progress: int, now_ms: int) -> None:
        _, before, since_ms = self.beats.get(role, (0, None, 0))
        self.beats[role] = (now_ms, progress, since_ms if before == progress else now_ms)

    def save_part(self, block: int, role: str, expected_parts: int) -> bool:
        """Whether it is this part that makes the checkpoint complete."""
        if block in self.checkpoints:
            return self.completed_by == (block, role)
        saved = self.parts.setdefault(block, set())
        saved.add(role)
        if len(saved) < expected_parts:
            return False
        del self.parts[block]
        self.checkpoints.add(block)
        self.checkpoint, self.completed_by = max(self.checkpoints), (block, role)
        return True

    def agrees_with(self, snapshot: Snapshot) -> None:
        """Raises AssertionError where `snapshot` tells anything else."""
        job = snapshot.job
        assert (job.state, job.message, job.output) == (self.state, self.message, self.output)
        assert (job.stop_requested, job.num_units, job.checkpoint) == (
            self.stop_requested,
            self.num_units,
            self.checkpoint,
        )
        assert job.driver_age_ms == max(0, snapshot.time_ms - self.driver_ms)
        assert snapshot.checkpoints == tuple(sorted(self.checkpoints))
        assert (snapshot.trainers, snapshot.scales) == (self.trainers, self.scales)
        assert self.lanes == [
            LaneModel(one.counters, one.high_block, one.high_emitted, one.high_ended) for one in snapshot.lanes
        ]
        assert snapshot.heartbeats == {
            role: Heartbeat(snapshot.time_ms - at_ms, progress, snapshot.time_ms - since_ms)
            for role, (at_ms, progress, since_ms) in self.beats.items()
        }
