"""Drives a job: starts its parts, watches them, replaces those that die, seals checkpoints, stops on demand.

Death is seen at once, by the reference of each actor's `run`; a hang by the heartbeat that its thread sends. Whoever
dies is replaced by a new actor with a newer token; the stream's promises make that invisible in the results.
"""

import logging
import time
from dataclasses import replace
from enum import Enum
from pathlib import Path

import ray

from cluster import checkpoints
from cluster.checkpoints import Checkpoint
from cluster.crew import Crew, Member
from cluster.death import Death, as_kernel_says, death_of
from cluster.deaths import Deaths, Replacement
from cluster.evaluator_actor import EVALUATOR
from cluster.hearing import Hearing
from cluster.job_gauges import JobGauges
from cluster.oom_kills import OomKills
from cluster.preparation import Prepared
from cluster.restart_policy import Cause, Step
from cluster.sealing import Sealing
from cluster.spill_watch import SpillWatch
from cluster.stopping import Standing, Standstill, StoppedAtOnce, stop_block, unsaved
from cluster.trainer_actor import TrainerEnd
from cluster.troubles import troubles
from cluster.watcher import Watcher
from shared.config import Job
from shared.errors import RegistryUnreachable, Unreadable
from shared.job_state import JobState
from shared.registry import Registry
from shared.registry_facts import StreamPoint, TrainerCounters
from shared.registry_snapshot import Snapshot

log = logging.getLogger(__name__)
TURN_S = 0.25
LOOK_S = 1.0
"""Between two looks at the registry."""
HASTE_S = 0.1
"""The same while the job stops: `ray job stop` may leave it 3 s to save all."""

STOP_FILE = "stop"
"""In the run folder: whoever makes it asks the job to save and stop, such as a script that hears a spot's notice."""

ABSENT = "has not been heard of for minutes: it waits for its place in the cluster, or still loads"
"""What the job says of a role meanwhile."""
MAX_EVALUATOR_DEATHS = 2
"""One more, and no checkpoint is measured any more."""


class Outcome(Enum):
    FINISHED = "finished"
    STOPPED = "stopped"
    """And saved."""
    CUT_SHORT = "cut short"
    """Stopped; what came after the last complete checkpoint will be done again."""

    @property
    def state(self) -> JobState:
        return JobState.FINISHED if self is Outcome.FINISHED else JobState.STOPPED


class Controller:
    """One run of the driver, from a fresh start or a checkpoint to the end or a stop."""

    def __init__(
        self,
        job: Job,
        run_folder: Path,
        registry: Registry,
        token: int,
        prepared: Prepared,
        crew: Crew,
        watcher: Watcher,
        spill: SpillWatch | None = None,
    ) -> None:
        self._job, self._run_folder, self._registry, self._token = job, run_folder, registry, token
        self._prepared, self._crew, self._watcher, self._spill = prepared, crew, watcher, spill
        self._stop_wish = watcher.stop_wanted
        self._names = [trainer.name for trainer in job.trainers]
        self._deaths = Deaths()
        self._sealing = Sealing(job, run_folder, registry, token, prepared, crew, self._tell_damage)
        self._unfinished: set[str] = set()
        self._skipped: set[int] = set()
        self._troubles: list[str] = []
        self.ends: dict[str, TrainerCounters] = {}
        """Of the trainers that have finished, what each had then."""
        self._evaluator_deaths = 0
        self._stop_block: int | None = None
        self._is_ending = False
        """A stop was asked for, and every block was given out already."""
        self.unsaved = ""
        """What was lost with a stop that was cut short."""
        self._hearing, self._oom_kills = Hearing(), OomKills()
        self._looked_s = 0.0
        self._gauges = JobGauges(job.name)

    def run(self, checkpoint: Checkpoint | None) -> Outcome:
        """Raises JobFailed when the job cannot go on; StoppedAtOnce after a second signal."""
        try:
            return self._run(checkpoint)
        except RegistryUnreachable:  # nobody is patient any more, since a stop has taken its time
            if not self._is_out_of_time():
                raise
            return self._cut_short(None)

    def _run(self, checkpoint: Checkpoint | None) -> Outcome:
        self._start(checkpoint)
        self._registry.set_state(self._token, JobState.RUNNING)
        while self._unfinished:
            if self._stop_wish.at_once:  # somebody has caught what the signal raised
                raise StoppedAtOnce
            if (self._run_folder / STOP_FILE).exists():
                self._stop_wish.set()
            stopping = self._stop_wish.is_set()
            for member in self._crew.ended(HASTE_S if stopping else TURN_S):
                self._settle(member)
            for replacement in self._deaths.take_due(time.monotonic()):
                self._make_good(replacement)
            is_last = bool(self._unfinished) and self._is_out_of_time()
            if is_last or time.monotonic() - self._looked_s >= (HASTE_S if stopping else LOOK_S):
                self._look()
            if self._stop_block is not None and self._sealing.has(self._stop_block):
                return Outcome.STOPPED
            if is_last:
                return self._cut_short(self._watcher.look())
        self._tell_early_end(self._watcher.look())
        return Outcome.FINISHED

    def _is_out_of_time(self) -> bool:
        """Whether a stop has taken as long as it may."""
        return self._stop_wish.lasts_s() > self._job.checkpoint.stop_within_s

    def _cut_short(self, snapshot: Snapshot | None) -> Outcome:
        """Notes who is late, to be said as the job's state."""
        trainers = snapshot.trainers.items() if snapshot else ()
        block, late = self._stop_block, list[str]()
        if self._is_ending:
            block, late = self._job.num_blocks, sorted(self._unfinished)
        elif block is not None:
            late = self._sealing.missing(block)
        cursors = {f"trainer-{name}": one.cursor for name, one in trainers}
        at = Standstill(block, late, cursors, self._sealing.trouble, self._sealing.newest_block)
        self.unsaved = unsaved(at, self._job.checkpoint.stop_within_s)
        log.warning("state=stopped message=%s", self.unsaved)
        return Outcome.CUT_SHORT

    def _tell_early_end(self, snapshot: Snapshot | None) -> None:
        emitted = sum(lane.counters.emitted for lane in snapshot.lanes) if snapshot else self._job.tokens
        if emitted < self._job.tokens:
            self._watcher.event(
                "early-end",
                f"the corpus ended after {emitted:,} of {self._job.tokens:,} tokens, and schedules did not come to "
                "their end: raise corpus.epochs or lower tokens",
            )
            self._watcher.look()

    def _start(self, checkpoint: Checkpoint | None) -> None:
        """Puts the whole stream at `checkpoint`, or at its beginning, with new actors."""
        self._crew.remove_all()
        self._deaths.all_are_replaced()
        # refused, if another driver has the job
        self._crew.stream = self._registry.begin_stream(self._token, self._point(checkpoint))
        checkpoints.drop_after(self._run_folder, checkpoint.block if checkpoint else -1)
        self._sealing.begin_at(checkpoint)
        self._stop_block, self._is_ending = None, False
        self._skipped.clear()
        self.ends.clear()
        cursors = dict.fromkeys(self._names, checkpoint.block if checkpoint else 0)
        for index in range(self._job.stream.lanes):
            self._crew.start_lane(index, checkpoint, cursors)
        for trainer in self._job.trainers:
            self._crew.start_trainer(trainer, checkpoint.part(f"trainer-{trainer.name}") if checkpoint else None)
        for index in range(self._job.producers.count):
            self._crew.start_producer(index)
        if self._job.evaluation.every_blocks is not None and self._evaluator_deaths <= MAX_EVALUATOR_DEATHS:
            self._crew.start_evaluator()
        self._unfinished = {f"trainer-{name}" for name in self._names}

    def _point(self, checkpoint: Checkpoint | None) -> StreamPoint:
        window, block_rows = self._job.window_units, self._job.stream.block_rows
        if checkpoint is not None:
            point = checkpoint.point(window, block_rows)
        else:
            lanes = self._job.stream.lanes
            point = StreamPoint.fresh(self._prepared.num_units, window, block_rows, lanes, self._names)
        return replace(point, held_out_contexts=self._prepared.held_out_contexts)

    def _settle(self, member: Member) -> None:
        """A member's `run` has ended: it is done, or it has died."""
        try:
            end = ray.get(member.run, timeout=60.0)
        except Exception as error:
            self._crew.remove(member.role)
            self._bury(member.role, as_kernel_says(death_of(error), self._oom_kills.were_just_now(time.monotonic())))
            return
        self._crew.remove(member.role)
        if not isinstance(end, TrainerEnd):  # a lane that found its role gone
            self._bury(member.role, Death(Cause.RAISED, "ended before the job did"))
        elif not end.stopped:
            self._unfinished.discard(member.role)
            self.ends[end.name] = end.counters

    def _bury(self, role: str, death: Death) -> None:
        """Notes a death, which is made good when the restart policy says; its units go to others at once."""
        if role == EVALUATOR:
            self._bury_evaluator(death)
            return
        if role.startswith("producer-"):
            units = self._registry.release_producer(self._token, role, death.reason, death.blames_its_work)
            again = f"units {', '.join(map(str, units))} leased again" if units else "it held no unit"
            death = replace(death, reason=f"{death.reason}; {again}")
        self._deaths.add(role, death, time.monotonic())

    def _make_good(self, dead: Replacement) -> None:
        if dead.role in self._crew.members:
            return  # all have been started anew
        try:
            done = self._rewind() if dead.step is Step.REWIND else self._replace(dead.role)
        except Unreadable as error:
            self._deaths.put_off(dead, error, time.monotonic())
            return
        seconds = time.monotonic() - dead.died_s
        kind = dead.role.partition("-")[0]
        self._watcher.event(f"{kind}-died", f"{dead.role} {dead.death.reason}; {done} {seconds:.1f} s later")

    def _bury_evaluator(self, death: Death) -> None:
        """Nobody waits for it: it is given another life or two, at once, or left alone."""
        self._evaluator_deaths += MAX_EVALUATOR_DEATHS + 1 if death.cause is Cause.USER_ERROR else 1
        lives_on = self._evaluator_deaths <= MAX_EVALUATOR_DEATHS
        done = "begun again" if lives_on else "the job goes on without it"
        self._watcher.event("evaluator-died", f"{EVALUATOR} {death.reason}; {done}")
        if lives_on:
            self._crew.start_evaluator()

    def _rewind(self) -> str:
        self._start(checkpoints.newest(self._run_folder, self._tell_damage))
        return f"all went back to block {self._sealing.newest_block}"

    def _tell_damage(self, sentence: str) -> None:
        self._watcher.event("damaged", sentence)

    def _replace(self, role: str) -> str:
        kind, _, name = role.partition("-")
        if kind == "producer":
            self._crew.start_producer(int(name))
            return "back"
        if kind == "lane" and (self._has_passed_over(int(name)) or not self._sealing.is_whole(role)):
            return self._rewind()
        done = self._replace_lane(int(name)) if kind == "lane" else self._replace_trainer(name)
        if self._stop_block is not None:
            self._crew.tell([self._crew.members[role].actor], "stop_at", self._stop_block)
        return done

    def _has_passed_over(self, index: int) -> bool:
        """Whether the lane has passed over a unit since the checkpoint: with how many of its rows, nobody knows now."""
        lanes = self._job.stream.lanes
        head = self._point(self._sealing.newest).lanes[index].head
        return any(unit % lanes == index and unit // lanes >= head for unit in self._skipped)

    def _replace_lane(self, index: int) -> str:
        checkpoint = self._sealing.newest
        point = self._point(checkpoint).lanes[index]
        cursors = {name: one.cursor for name, one in self._registry.snapshot().trainers.items()}
        self._registry.claim_role(self._token, f"lane-{index}")  # whoever had it says no more
        oldest_lease = self._registry.rewind_lane(self._token, index, point)
        self._crew.start_lane(index, checkpoint, cursors, oldest_lease)
        self._skipped = {unit for unit in self._skipped if unit % self._job.stream.lanes != index}
        return f"back from block {checkpoint.block if checkpoint else 0}"

    def _replace_trainer(self, name: str) -> str:
        config = next(trainer for trainer in self._job.trainers if trainer.name == name)
        checkpoint, role = self._sealing.newest, f"trainer-{name}"
        saved = checkpoints.newest_part(self._run_folder, role, self._crew.stream, self._tell_damage)
        if saved is None and not self._sealing.is_whole(role):
            return self._rewind()
        if saved is None and checkpoint is not None:
            saved = checkpoint.block, checkpoint.part(role)
        self._crew.start_trainer(config, saved[1] if saved else None)
        return f"back from block {saved[0] if saved else 0}"

    def _look(self) -> None:
        """What is due each second: checkpoints, units set aside, hangs, a stop that was asked for, the display."""
        self._looked_s = time.monotonic()
        self._oom_kills.look(self._looked_s)
        snapshot = self._watcher.look()
        if snapshot is None:
            return
        self._hearing.looked(time.monotonic(), snapshot.time_ms, snapshot.heartbeats, snapshot.job.driver_age_ms)
        self._gauges.set(snapshot)
        self._sealing.looked(snapshot, self._stop_block)
        self._skip_dead(snapshot)
        self._say_troubles(snapshot)
        self._end_hung()
        if snapshot.job.stop_requested:
            self._stop_wish.set()
        if self._stop_wish.is_set() and self._stop_block is None and not self._is_ending:
            self._stop()

    def _skip_dead(self, snapshot: Snapshot) -> None:
        for dead in snapshot.units.dead:
            lane = self._crew.members.get(f"lane-{dead.unit % self._job.stream.lanes}")
            if dead.unit not in self._skipped and lane is not None:
                self._skipped.add(dead.unit)
                self._crew.tell([lane.actor], "skip_unit", dead.unit)

    def _say_troubles(self, snapshot: Snapshot) -> None:
        """The job is degraded for as long as there is any; while it stops its state says that."""
        spilling = self._spill.trouble(self._looked_s) if self._spill else ""
        started_s = {role: member.started_s for role, member in self._crew.members.items()}
        absent = [f"{role} {ABSENT}" for role in self._hearing.absent(started_s)]
        found = troubles(snapshot, [self._sealing.trouble, self._watcher.trouble, spilling, *absent])
        if found == self._troubles:
            return
        for sentence in found:
            if sentence not in self._troubles:
                self._watcher.event("degraded", sentence)
        if not found:
            self._watcher.event("recovered", "nothing is in the way any more")
        self._troubles = found
        if not self._stop_wish.is_set():
            state = JobState.DEGRADED if found else JobState.RUNNING
            self._registry.set_state(self._token, state, "; ".join(found))

    def _end_hung(self) -> None:
        for role, member in self._crew.members.items():
            complaint = self._hearing.complaint(role, member.started_s)
            if complaint is not None:
                self._crew.remove(role)
                self._bury(role, Death(Cause.HUNG, complaint))

    def _stop(self) -> None:
        """Fixes the block at which all save, as soon as all have said where they stand; tried again at each look."""
        lanes = self._crew.ask(self._crew.lanes(), "hold")
        if len(lanes) < self._job.stream.lanes:
            return
        standing = Standing(lanes, self._crew.ask(self._crew.trainers(), "hold"), self._watcher.look())
        block = stop_block(standing, self._job.num_blocks)
        if block is None:
            return
        self._is_ending = block == self._job.num_blocks
        if self._is_ending:
            self._watcher.event("stopping", "every block is given out already: the trainers read on to the end")
        else:
            self._stop_block = block
            self._registry.set_state(self._token, JobState.DRAINING, f"saving at block {block}")
        self._crew.tell([*self._crew.lanes(), *self._crew.trainers()], "stop_at", block)
