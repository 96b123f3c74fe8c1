"""Curves out of a run's measurements: one field of one source, along its tokens or along time. Pure."""

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

MAX_POINTS = 600
"""Points of a drawn curve; more are averaged in groups, so that a report of a long run stays small."""
TIME_BINS = 300
PAUSE_FACTOR = 5
"""A silence of so many times the usual step is a pause, and a curve is not drawn across it."""
PAUSE_S = 30.0

Points = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Curves:
    """All measurements of a run, by source and field, in order of time."""

    series: dict[tuple[str, str], Points] = field(default_factory=dict)
    """(source, field) -> times in ms, values."""

    @classmethod
    def of(cls, metrics: pa.Table) -> "Curves":
        """From what `metrics_store.read_metrics` gives."""
        series: dict[tuple[str, str], Points] = {}
        for source in pc.unique(metrics["source"]).to_pylist():
            mine = metrics.filter(pc.equal(metrics["source"], source))
            for name in pc.unique(mine["field"]).to_pylist():
                one = mine.filter(pc.equal(mine["field"], name))
                series[source, name] = one["time_ms"].to_numpy(), one["value"].to_numpy()
        return cls(series)

    def sources(self, prefix: str) -> list[str]:
        """Those whose name begins with `prefix`."""
        return sorted({source for source, _ in self.series if source.startswith(prefix)}, key=lambda s: (len(s), s))

    def fields(self, source: str) -> list[str]:
        return sorted(name for owner, name in self.series if owner == source)

    def along(self, position: str, source: str, name: str) -> Points | None:
        """`name` of `source` against its `position`, such as tokens.

        A source that was resumed goes through some positions again: what it measured there the first time is left out.
        """
        where, what = self.series.get((source, position)), self.series.get((source, name))
        if where is None or what is None:
            return None
        times, at_x, at_y = np.intersect1d(where[0], what[0], return_indices=True)
        x, y = where[1][at_x], what[1][at_y]
        kept = _never_undone(x) & np.isfinite(y)
        return (x[kept], y[kept]) if len(times) and kept.any() else None

    def last(self, source: str, name: str) -> float | None:
        """The newest value."""
        found = self.series.get((source, name))
        return float(found[1][-1]) if found else None

    def median(self, source: str, name: str) -> float | None:
        """The usual value while there was one, zeros left out."""
        found = self.series.get((source, name))
        values = found[1][found[1] > 0] if found else np.empty(0)
        return float(np.median(values)) if len(values) else None

    @property
    def span_ms(self) -> tuple[int, int] | None:
        """From the first measurement to the last."""
        times = [times for times, _ in self.series.values()]
        return (int(min(one[0] for one in times)), int(max(one[-1] for one in times))) if times else None


def summed(curves: Curves, sources: list[str], name: str) -> Points | None:
    """The sum of `name` over `sources` against time in ms; nan in a pause, so that a plot breaks there."""
    found = [curves.series[source, name] for source in sources if (source, name) in curves.series]
    if not found:
        return None
    begin, end = min(one[0][0] for one in found), max(one[0][-1] for one in found)
    grid = np.linspace(begin, end, min(TIME_BINS, max(len(times) for times, _ in found)))
    total = np.sum([_held(grid, *one) for one in found], axis=0)
    total[~_is_heard(grid, np.unique(np.concatenate([times for times, _ in found])))] = np.nan
    return grid, total


def thinned(points: Points) -> Points:
    """At most `MAX_POINTS`, each the mean of its group; the last one stays."""
    x, y = points
    if len(x) <= MAX_POINTS:
        return points
    groups = [np.array_split(values[:-1], MAX_POINTS - 1) for values in (x, y)]
    x_means, y_means = (np.array([group.mean() for group in split]) for split in groups)
    return np.append(x_means, x[-1]), np.append(y_means, y[-1])


def _never_undone(position: np.ndarray) -> np.ndarray:
    """Whether every later position is beyond this one."""
    later = np.minimum.accumulate(position[::-1])[::-1]
    return position < np.append(later[1:], np.inf)


def _held(grid: np.ndarray, times: np.ndarray, values: np.ndarray) -> np.ndarray:
    """`values` at the moments of `grid`; nothing where the source was not there yet, or no more."""
    there = (grid >= times[0] - PAUSE_S * 1000) & (grid <= times[-1] + PAUSE_S * 1000)
    return np.where(there, np.interp(grid, times, values), 0.0)


def _is_heard(grid: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Whether each moment of `grid` lies in no long silence between two of `times`."""
    if len(times) < 2:
        return np.ones(len(grid), dtype=bool)
    steps = np.diff(times)
    longest = max(PAUSE_S * 1000, PAUSE_FACTOR * float(np.median(steps)), PAUSE_FACTOR * float(np.diff(grid).mean()))
    after = np.clip(np.searchsorted(times, grid, side="right"), 1, len(times) - 1)
    inside = (grid > times[after - 1]) & (grid < times[after])
    return ~(inside & (steps[after - 1] > longest))
