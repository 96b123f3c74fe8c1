"""Who is taken for hung: who was heard and is silent now, and whose heart beats while the rest of it stands still.

What a driver did not hear because Redis was away, or because it was busy itself, is held against nobody.
"""

from shared.registry_facts import Heartbeat

SILENT_S = 30.0
"""Three heartbeats."""
STUCK_S = 1800.0
"""Loading a model over a network may take as long; every loop that waits turns many times."""
DEAF_S = 5.0
"""Between two looks at the registry; after a longer time all silence counts anew."""
UNWRITTEN_S = 12.0
"""Four of the driver's own heartbeats: a Redis whose disk is full can be read, and takes nobody's."""


class Hearing:
    """The driver's, told of every look at the registry that was answered."""

    def __init__(self) -> None:
        self._since_s = self._last_s = 0.0

    def looked(self, now_s: float, own_age_ms: int | None = None) -> None:
        """The registry has just answered, and says that it heard the driver so long ago."""
        if own_age_ms is not None and own_age_ms > 1000 * UNWRITTEN_S:
            return
        if now_s - self._last_s > DEAF_S:
            self._since_s = now_s
        self._last_s = now_s

    def complaint(self, beat: Heartbeat | None, started_s: float) -> str | None:
        """Why an actor that was started at `started_s` counts as hung; None if it does not.

        One that was never heard waits for its place in the cluster, or is just being made.
        """
        if beat is None:
            return None
        known_ms = 1000 * (self._last_s - max(self._since_s, started_s))
        if min(beat.age_ms, known_ms) > 1000 * SILENT_S:
            return f"was silent for {beat.age_ms / 1000:.0f} s"
        if min(beat.progress_age_ms, known_ms) > 1000 * STUCK_S:
            return f"did not get on for {beat.progress_age_ms / 60_000:.0f} min"
        return None
