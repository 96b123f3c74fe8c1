"""Whether what was measured is flat: by the slope of Theil and Sen, which a few odd samples do not move."""

from collections.abc import Iterable
from dataclasses import dataclass

from scipy.stats import theilslopes

from tests.soak.vitals import Sample

WARM_UP_SHARE = 0.2
"""Of the whole time, and of nobody's concern."""
GROWN_UP_S = 60.0
"""A younger process still takes its memory."""
BOUNDS_PER_HOUR = {
    ("*", "private MiB"): 12.0,
    ("*", "handles"): 2.0,
    ("*", "threads"): 6.0,
    ("redis", "private MiB"): None,
    ("redis", "keys"): 0.5,
    ("redis", "used MiB but for capped streams"): 1.0,
    ("redis", "clients"): 1.0,
    ("store", "used MiB"): 1.0,
    ("store", "objects"): 8.0,
    ("store", "spilled MiB"): 0.0,
    ("folder", "MiB without metrics"): 1.0,
    ("folder", "files without metrics"): 4.0,
    ("ray", "private MiB"): None,
    ("*", "resident MiB"): None,
}
"""What may be added in an hour; None, or not named: written down, and not judged.

An actor's pools of threads fill as they are first needed: a lane's are 22. A leak would be one for each of 80 kills.
Redis' streams of events and measurements come to their caps of 10,000 and 50,000 entries after hours only, so that
they are counted apart.
"""


@dataclass(frozen=True)
class Trend:
    """One measure of one subject over the whole time."""

    subject: str
    measure: str
    first: float
    last: float
    most: float
    per_hour: float
    bound: float | None
    processes: int

    @property
    def is_flat(self) -> bool:
        return self.bound is None or self.per_hour <= self.bound

    @property
    def sentence(self) -> str:
        return f"{self.subject}: {self.measure} grows by {self.per_hour:.2f} an hour"


def trends(samples: Iterable[Sample]) -> list[Trend]:
    """One for each subject and measure, in the order in which they came."""
    series: dict[tuple[str, str], list[Sample]] = {}
    for one in samples:
        series.setdefault((one.subject, one.measure), []).append(one)
    end_s = max(one.at_s for some in series.values() for one in some)
    found = (_trend(subject, measure, some, end_s) for (subject, measure), some in series.items())
    return [one for one in found if one is not None]


def _trend(subject: str, measure: str, samples: list[Sample], end_s: float) -> Trend | None:
    grown = [one for one in samples if not one.pid or one.age_s >= GROWN_UP_S]
    judged = [one for one in grown if one.at_s >= WARM_UP_SHARE * end_s]
    if len(judged) < 2:
        return None
    slope = theilslopes([one.value for one in judged], [one.at_s / 3600 for one in judged]).slope
    return Trend(
        subject,
        measure,
        judged[0].value,
        judged[-1].value,
        max(one.value for one in samples),
        float(slope),
        BOUNDS_PER_HOUR.get((subject, measure), BOUNDS_PER_HOUR.get(("*", measure))),
        len({one.pid for one in samples}),
    )


def table(found: list[Trend]) -> str:
    """As Markdown."""
    lines = [
        "| who | what | after warm-up | at the end | most | a hour adds | allowed | processes |",
        "|---|---|---|---|---|---|---|---|",
    ]
    return "\n".join(lines + [_line(one) for one in found])


def _line(one: Trend) -> str:
    bound = "-" if one.bound is None else f"{one.bound:g}" + ("" if one.is_flat else " **no**")
    return (
        f"| {one.subject} | {one.measure} | {one.first:.1f} | {one.last:.1f} | {one.most:.1f} | {one.per_hour:+.2f} "
        f"| {bound} | {one.processes} |"
    )
