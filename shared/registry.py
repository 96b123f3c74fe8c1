"""The registry: the one truth about a job, in Redis. Every transition is one Lua script on the server's clock.

What must stay true: a unit has at most one valid lease; a role has at most one holder; whoever comes late is refused by
token; the rows balance at every moment (`shared.ledger`). Redis with an append-only file synced each second loses at
most that second when it crashes: work is then repeated, never corrupted. A lease, a renewal and a finish take 0.4 ms
together on a unix socket, so that one server carries thousands of units a second.
"""

from typing import Any, cast

import redis

from shared.errors import RegistryError, UserError
from shared.job_state import JobState
from shared.registry_connection import registry_errors, sound_contents
from shared.registry_facts import JobSummary, TrainerCounters
from shared.registry_jobs import JobCalls
from shared.registry_keys import JOBS, SCHEMA, key
from shared.registry_progress import ProgressCalls
from shared.registry_snapshot import Snapshot, age_ms, parse_snapshot
from shared.registry_units import UnitCalls


class Registry(JobCalls, UnitCalls, ProgressCalls):
    """One job in the registry that `client` is connected to. Threads may share it."""

    def snapshot(self) -> Snapshot:
        """Everything about the job at one moment. Raises UserError when there is no such job."""
        word, *facts = self._call("snapshot")
        if word == "unknown":
            raise UserError(f"there is no job named {self.job} in this registry")
        with sound_contents(self.job):
            return parse_snapshot(self.job, facts)


SUMMARY_FIELDS = ("state", "message", "output", "created_ms", "driver_ms")


def list_jobs(client: redis.Redis) -> list[JobSummary]:
    """All jobs that the registry knows, oldest first; one whose record is damaged hides none of the others."""
    with registry_errors(client):
        names: Any = client.zrange(JOBS, 0, -1)
        seconds, micros = client.time()
    now = seconds * 1000 + micros // 1000
    return [one for name in names if (one := _summary_or_damage(client, name, now)) is not None]


def _summary_or_damage(client: redis.Redis, name: str, now: int) -> JobSummary | None:
    try:
        return _summary(client, name, now)
    except RegistryError as error:
        return JobSummary(name, JobState.FAILED, "", "", now, None, 0, damage=str(error))


def _summary(client: redis.Redis, name: str, now: int) -> JobSummary | None:
    """None where the job is gone."""
    with registry_errors(client):
        schema, *fields = cast(list[Any], client.hmget(key(name, "job"), ["schema", *SUMMARY_FIELDS]))
        trainers: Any = client.hvals(key(name, "trainers"))
    if schema not in (None, str(SCHEMA)):
        raise RegistryError(f"job {name} has registry schema {schema}, this Headrace knows {SCHEMA}")
    state, message, output, created_ms, driver_ms = fields
    if not state:
        return None
    with sound_contents(name):
        tokens = min((TrainerCounters.from_json(record).rows for record in trainers), default=0)
        return JobSummary(
            name, JobState(state), message or "", output or "", int(created_ms), age_ms(now, driver_ms), tokens
        )
