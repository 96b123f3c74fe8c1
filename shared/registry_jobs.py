"""The part of the registry that is about a job as a whole: who drives it, in which state, where its stream begins."""

import json
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shared.errors import RegistryError, UserError
from shared.job_state import JobState, sources
from shared.registry_connection import registry_errors, sound_contents
from shared.registry_facts import DRIVER_DEAD_MS, LaneCounters, StreamPoint, TrainerCounters
from shared.registry_keys import JOBS
from shared.registry_scripts import ScriptCaller


class JobCalls(ScriptCaller):
    """The driver's calls, and those of commands that look at a job or stop it."""

    def claim_job(self, job_yaml: str, output: str, resume: bool) -> int:
        """Makes the caller the job's driver, in state starting; gives its token.

        Raises:
            UserError: another driver is alive; or the job has begun before in this output and `resume` is false; or it
                is finished and `resume` is true.
        """
        args = (job_yaml, output, int(resume), DRIVER_DEAD_MS, secrets.token_hex(8))
        word, *facts = self._call("claim_job", *args)
        if word != "ok":
            raise UserError(_claim_refusal(self.job, word, output, facts))
        with registry_errors(self._client):
            created_ms = self._client.hget(self._keys["job"], "created_ms")
            with sound_contents(self.job):
                self._client.zadd(JOBS, {self.job: int(str(created_ms))})
        return facts[0]

    def begin_stream(self, token: int, point: StreamPoint) -> int:
        """Puts units, lanes and trainers where `point` says, for a fresh start or a resume; gives the stream's number.

        Leases and roles of before are void: claim roles after this.
        """
        return self._call("begin_stream", token, json.dumps(_stream_facts(point)))[1]

    def rewind_lane(self, token: int, lane: int, point: LaneCounters) -> int:
        """Puts one lane back to `point`: its units from there on are leased anew. `token` is the driver's.

        Returns:
            a token of the moment at which leases on these units became void: theirs are older.
        """
        word, *facts = self._call("rewind_lane", token, lane, json.dumps(_lane_facts(point)))
        if word != "ok":
            raise RegistryError(f"job {self.job} has no lane {lane}")
        return facts[0]

    def heartbeat_driver(self, token: int) -> None:
        """The driver lives. Raises StaleToken when another one has taken over."""
        self._call("heartbeat_driver", token)

    def set_state(
        self, token: int, state: JobState, message: str = "", ends: Mapping[str, TrainerCounters] | None = None
    ) -> None:
        """Puts the job in `state`; `token` is the driver's.

        Args:
            ends: trainer -> what it ended with, said again in the same step: a registry that lost its newest second
                may have forgotten it, and the trainer is gone.
        Raises:
            RegistryError: the table of transitions does not allow it.
        """
        records = json.dumps({name: counters.to_json() for name, counters in (ends or {}).items()})
        word, *facts = self._call("set_state", token, state, message, records, *sources(state))
        if word == "illegal":
            raise RegistryError(f"job {self.job} cannot go from {facts[0]} to {state}")

    def request_stop(self) -> bool:
        """Asks the driver to save and stop; False when the job is over. Raises UserError when there is no such job."""
        word, *facts = self._call("request_stop")
        if word == "unknown":
            raise UserError(f"there is no job named {self.job} in this registry")
        return bool(facts[0])

    def stop_requested(self) -> bool:
        return self._job_field("stop_ms") is not None

    def job_state(self) -> JobState | None:
        """None when there is no such job."""
        state = self._job_field("state")
        with sound_contents(self.job):
            return JobState(state) if state else None

    def job_yaml(self) -> str | None:
        """The job file as it was claimed."""
        return self._job_field("yaml")

    def _job_field(self, name: str) -> str | None:
        with registry_errors(self._client):
            value: Any = self._client.hget(self._keys["job"], name)
        return value


def _stream_facts(point: StreamPoint) -> dict[str, object]:
    return {
        "num_units": point.num_units,
        "window_units": point.window_units,
        "block_rows": point.block_rows,
        "max_attempts": point.max_attempts,
        "held_out_contexts": point.held_out_contexts,
        "checkpoint": -1 if point.checkpoint is None else point.checkpoint,
        "lanes": [_lane_facts(lane) for lane in point.lanes],
        "trainers": {name: counters.to_json() for name, counters in point.trainers.items()},
        "scales": {hookpoint: repr(value) for hookpoint, value in point.scales.items()},
    }


def _lane_facts(point: LaneCounters) -> dict[str, object]:
    """What rewinding computes with, and the record as it is to be read again."""
    marks = ("head", "pushed", "open_rows", "emitted", "next_block", "satisfied", "has_ended")
    return {**{name: getattr(point, name) for name in marks}, "record": point.to_json()}


def _claim_refusal(job: str, word: str, output: str, facts: list[str]) -> str:
    if word == "live":
        return f"a job named {job} is already running; choose another name or stop it with: headrace stop {job}"
    if word == "elsewhere":
        there = f"a job named {job} is {facts[0]} in {facts[1]}"
        return f"{there}; go on with: headrace resume {facts[1]}, or choose another name"
    if word == "finished":
        return f"job {job} is finished; there is nothing to resume"
    how = "is finished" if facts[0] == "finished" else f"has begun before (it is {facts[0]})"
    then = "" if facts[0] == "finished" else f"go on with: headrace resume {job}, or "
    return f"job {job} {how} in {Path(output)}; {then}choose another name or output"
