"""The part of the registry that is about roles: their tokens, heartbeats, counters and parts of checkpoints.

A role is `lane-0`, `trainer-topk-512`, `producer-0`. Every write here is refused when the role has a newer token.
"""

import json
from collections.abc import Mapping
from typing import Any

from shared.errors import RegistryError
from shared.registry_connection import registry_errors, sound_contents
from shared.registry_facts import (
    EvaluationRecord,
    Event,
    Heartbeat,
    LaneCounters,
    Measurement,
    TrainerCounters,
    dump_json,
)
from shared.registry_scripts import ScriptCaller
from shared.registry_snapshot import parse_heartbeats

MAX_EVENTS = 10_000
MAX_METRICS = 50_000
"""About as many are kept; older ones go. The scripts' own events keep the same bound."""


class ProgressCalls(ScriptCaller):
    """The calls of lanes and trainers, and what is logged about all."""

    def claim_role(self, token: int, role: str) -> int:
        """A new token for `role`, whose older holders are refused from then on; `token` is the driver's."""
        return self._call("claim_role", token, role)[1]

    def heartbeat(self, role: str, token: int, progress: int) -> None:
        """The role lives; `progress` is any number that changes when it gets on."""
        self._call("heartbeat", role, token, progress)

    def heartbeats(self) -> dict[str, Heartbeat]:
        """Of every role that was heard since it was claimed."""
        _, now, flat = self._call("heartbeats")
        with sound_contents(self.job):
            return parse_heartbeats(now, flat)

    def publish_lane(self, lane: int, token: int, counters: LaneCounters) -> None:
        """The lane's counters, in one write; before a block is handed out, so that no trainer is ahead of its lane."""
        flags = (int(counters.satisfied), int(counters.has_ended))
        marks = (counters.head, counters.next_block, counters.emitted, *flags)
        word, *facts = self._call("publish_lane", lane, token, *marks, counters.to_json())
        if word == "backwards":
            raise RegistryError(f"lane-{lane} cannot go from unit {facts[0]} back to {counters.head} by itself")
        if word == "no lane":
            raise RegistryError(f"job {self.job} has no lane {lane}")

    def publish_trainer(self, name: str, token: int, counters: TrainerCounters) -> None:
        """The trainer's counters, in one write; its role is `trainer-NAME`."""
        self._call("publish_trainer", name, token, counters.to_json())

    def publish_evaluation(self, token: int, trainer: str, record: EvaluationRecord) -> None:
        """How `trainer` did on held-out text; its role is `evaluator`."""
        self._call("publish_evaluation", token, trainer, record.to_json())

    def remove_trainer(self, token: int, name: str) -> None:
        """The trainer leaves the stream; `token` is the driver's."""
        self._call("remove_trainer", token, name)

    def fix_scale(self, hookpoint: str, value: float) -> float:
        """The first one to say it fixes it; gives the value in force, to the last bit."""
        fixed = self._call("fix_scale", hookpoint, repr(float(value)))[1]
        with sound_contents(self.job):
            return float(fixed)

    def save_part(self, block: int, part: str, token: int, expected_parts: int) -> bool:
        """`part` (a role) has saved checkpoint `block`; True for the call that makes it complete."""
        return bool(self._call("save_part", block, part, token, expected_parts)[1])

    def completed_checkpoints(self) -> list[int]:
        """The blocks of complete checkpoints, oldest first, less those that were forgotten."""
        with registry_errors(self._client):
            found: Any = self._client.zrange(self._keys["checkpoints"], 0, -1)
        with sound_contents(self.job):
            return [int(block) for block in found]

    def forget_checkpoints(self, below: int) -> None:
        """Checkpoints before block `below` are no longer on disk."""
        with registry_errors(self._client):
            self._client.zremrangebyscore(self._keys["checkpoints"], "-inf", f"({below}")

    def add_event(self, kind: str, message: str) -> None:
        """One line in the job's story: `producer-died`, `producer-1 died (exit 137) …`."""
        with registry_errors(self._client):
            self._client.xadd(self._keys["events"], {"kind": kind, "message": message}, maxlen=MAX_EVENTS)

    def events(self, after_id: str = "-", count: int = 100) -> list[Event]:
        """The oldest `count` events after the one of `after_id`; `-` begins at the first that is kept."""
        entries = self._after("events", after_id, count)
        with sound_contents(self.job):
            return [Event(id, _time_ms(id), one["kind"], one["message"]) for id, one in entries]

    def add_metrics(self, source: str, fields: Mapping[str, float | int | str]) -> None:
        """What `source` measured at this moment."""
        entry = {"source": source, "fields": dump_json(dict(fields))}
        with registry_errors(self._client):
            self._client.xadd(self._keys["metrics"], entry, maxlen=MAX_METRICS)  # type: ignore[arg-type]

    def metrics(self, after_id: str = "-", count: int = 1000) -> list[Measurement]:
        """The oldest `count` measurements after the one of `after_id`; `-` begins at the first that is kept."""
        entries = self._after("metrics", after_id, count)
        with sound_contents(self.job):
            return [Measurement(id, _time_ms(id), one["source"], _measured(one["fields"])) for id, one in entries]

    def _after(self, name: str, after_id: str, count: int) -> list[tuple[str, dict[str, str]]]:
        start = "-" if after_id == "-" else f"({after_id}"
        with registry_errors(self._client):
            entries: Any = self._client.xrange(self._keys[name], start, "+", count)
        return entries


def _measured(text: str) -> dict[str, Any]:
    """Raises ValueError for what is no measurement."""
    fields = json.loads(text)
    if not isinstance(fields, dict):
        raise ValueError(f"{text[:60]!r} is not a measurement")
    return fields


def _time_ms(stream_id: str) -> int:
    """A stream's ids begin with the server's ms."""
    return int(stream_id.partition("-")[0])
