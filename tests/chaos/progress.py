"""How fast the slowest trainer of a job reads, before and after a fault."""

from shared.registry_snapshot import Snapshot

WINDOW_S = 5.0
"""Throughput is that of so many seconds: blocks come one by one."""


class Progress:
    """Rows that every trainer has read, by the time at which that was seen; rows that are read again count once."""

    def __init__(self) -> None:
        self._seen: list[tuple[float, int]] = []

    def saw(self, now_s: float, snapshot: Snapshot) -> None:
        rows = min((one.rows for one in snapshot.trainers.values()), default=0)
        if rows and (not self._seen or rows > self._seen[-1][1]):
            self._seen.append((now_s, rows))

    def dip(self, begin_s: float, end_s: float) -> float | None:
        """Share of the throughput before `begin_s` that is missing until `end_s`; None where too little was seen."""
        before = self._rows_per_s(begin_s - WINDOW_S, begin_s)
        during = self._rows_per_s(begin_s, max(end_s, begin_s + WINDOW_S))
        return max(0.0, 1 - during / before) if before and during is not None else None

    def _rows_per_s(self, begin_s: float, end_s: float) -> float | None:
        if not self._seen:
            return None
        begin_s, end_s = max(begin_s, self._seen[0][0]), min(end_s, self._seen[-1][0])
        return (self._rows(end_s) - self._rows(begin_s)) / (end_s - begin_s) if end_s > begin_s else None

    def _rows(self, at_s: float) -> int:
        return max((rows for seen_s, rows in self._seen if seen_s <= at_s), default=0)
