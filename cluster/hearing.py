"""Who is taken for hung: who was heard and is silent now, and whose heart beats while the rest of it stands still.

What a driver did not hear because Redis was away, or because it was busy itself, is held against nobody. Silence is
measured by the driver's own clock, from one look to another: the server's may be set right at any moment.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from shared.registry_facts import Heartbeat

SILENT_S = 30.0
"""Three heartbeats."""
STUCK_S = 1800.0
"""Loading a model over a network may take as long; every loop that waits turns many times."""
ABSENT_S = 300.0
"""Without a first heartbeat: a small cluster gives no place sooner, or a large model loads; it is worth saying."""
DEAF_S = 5.0
"""Between two looks at the registry; after a longer time all silence counts anew."""

UNWRITTEN_S = 12.0
"""Four of the driver's own heartbeats: a Redis whose disk is full can be read, and takes nobody's."""


@dataclass(frozen=True)
class _Heard:
    """The newest heartbeat of a role, and since when it is the newest."""

    at_ms: int
    """By the server's clock: what tells one heartbeat from another."""
    beat_s: float
    progress: int
    progress_s: float


class Hearing:
    """The driver's, told of every look at the registry that was answered. Seconds are of its monotonic clock."""

    def __init__(self) -> None:
        self._since_s = self._last_s = 0.0
        self._heard: dict[str, _Heard] = {}

    def looked(
        self, now_s: float, server_ms: int, beats: Mapping[str, Heartbeat], own_age_ms: int | None = None
    ) -> None:
        """The registry has just answered: at `server_ms` it knew `beats`, and heard the driver `own_age_ms` before."""
        if own_age_ms is not None and own_age_ms > 1000 * UNWRITTEN_S:
            return
        if now_s - self._last_s > DEAF_S:
            self._since_s = now_s
        self._last_s = now_s
        self._heard = {role: self._newest(role, server_ms - beat.age_ms, beat.progress) for role, beat in beats.items()}

    def complaint(self, role: str, started_s: float) -> str | None:
        """Why an actor that was started at `started_s` counts as hung; None if it does not.

        One that was never heard waits for its place in the cluster, or is just being made; but not for ever, since it
        may hang while it is: to be started anew costs one that waits nothing.
        """
        heard = self._heard.get(role)
        since_s = max(self._since_s, started_s)
        if heard is None:
            unheard_s = self._last_s - since_s
            return f"was not heard for {unheard_s / 60:.0f} min" if unheard_s > STUCK_S else None
        silent_s = self._last_s - max(heard.beat_s, since_s)
        if silent_s > SILENT_S:
            return f"was silent for {silent_s:.0f} s"
        stuck_s = self._last_s - max(heard.progress_s, since_s)
        if stuck_s > STUCK_S:
            return f"did not get on for {stuck_s / 60:.0f} min"
        return None

    def absent(self, started_s: Mapping[str, float]) -> Iterator[str]:
        """Of roles, each with when its actor was started, those that have not been heard for long since."""
        for role, since_s in started_s.items():
            if role not in self._heard and self._last_s - max(self._since_s, since_s) > ABSENT_S:
                yield role

    def _newest(self, role: str, at_ms: int, progress: int) -> _Heard:
        before, now_s = self._heard.get(role), self._last_s
        if before is None:
            return _Heard(at_ms, now_s, progress, now_s)
        if before.at_ms != at_ms:
            before = replace(before, at_ms=at_ms, beat_s=now_s)
        return before if before.progress == progress else replace(before, progress=progress, progress_s=now_s)
