"""A job's progress while it runs: a live picture on a terminal, a line every ten seconds anywhere else."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from cluster.status import status_facts
from cluster.status_table import Facts, cell, headline, limit_text, plain_table, spooled, trainer_numbers
from cluster.wording import NONE, count, decimals, percent, plural, whole
from shared.config import Job
from shared.quantity import format_bytes
from shared.registry_facts import Event
from shared.registry_snapshot import Snapshot

PLAIN_LINE_S = 10.0
REDRAWS_PER_S = 4.0
ROWS_AROUND = 12
"""Lines of the live picture that are not a trainer's, and one to spare."""
MAX_NAMED = 3
"""More trainers than this are summed up in a plain line."""
BAD_WORDS = ("died", "failed", "hung", "lost", "aside", "dead")


class ProgressDisplay(Protocol):
    """Takes in what happens and shows it."""

    def update(self, snapshot: Snapshot) -> None: ...

    def event(self, event: Event) -> None: ...


@contextmanager
def progress_display(job: Job, console: Console) -> Iterator[ProgressDisplay]:
    """The display that suits `console`; what it last showed stays when the block ends."""
    if not console.is_terminal:
        display = PlainDisplay(job, console)
        try:
            yield display
        finally:
            display.close()
        return
    with Live(console=console, auto_refresh=False, vertical_overflow="ellipsis") as live:
        yield LiveDisplay(job, live)


class LiveDisplay:
    """Redraws in place; events scroll by above."""

    def __init__(self, job: Job, live: Live) -> None:
        self._job, self._live = job, live
        self._drawn_s = float("-inf")
        live.update(Text.assemble((job.name, "bold"), "  starting"), refresh=True)

    def update(self, snapshot: Snapshot) -> None:
        """Draws at most a few times a second, but always the end."""
        now = time.monotonic()
        due = now - self._drawn_s >= 1 / REDRAWS_PER_S or snapshot.job.state.is_terminal
        if due:
            self._drawn_s = now
            max_trainers = max(1, self._live.console.height - ROWS_AROUND)
            self._live.update(progress_view(status_facts(snapshot, self._job), max_trainers), refresh=True)

    def event(self, event: Event) -> None:
        self._live.console.print(event_text(event), soft_wrap=True, highlight=False)


class PlainDisplay:
    """For logs and pipes: no colours, no redrawing."""

    def __init__(self, job: Job, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._job, self._console, self._clock = job, console, clock
        self._printed_s = float("-inf")
        self._state = ""
        self._unprinted: Snapshot | None = None

    def update(self, snapshot: Snapshot) -> None:
        """Prints if ten seconds have passed, or the job's state is another."""
        self._unprinted = snapshot
        if self._clock() - self._printed_s >= PLAIN_LINE_S or snapshot.job.state != self._state:
            self.close()

    def event(self, event: Event) -> None:
        self._say(event_text(event).plain)

    def close(self) -> None:
        """Prints what was not yet."""
        if self._unprinted is not None:
            self._printed_s, self._state = self._clock(), self._unprinted.job.state
            self._say(plain_line(status_facts(self._unprinted, self._job)))
            self._unprinted = None

    def _say(self, line: str) -> None:
        self._console.print(line, soft_wrap=True, markup=False, highlight=False)


def progress_view(facts: Facts, max_trainers: int) -> RenderableType:
    """The live picture: the job, its stream, and its trainers; the furthest behind, if not all find room."""
    shown = sorted(facts["trainers"], key=lambda one: one["share"])[:max_trainers]
    rest = [one for one in facts["trainers"] if one not in shown]
    parts: list[RenderableType] = [Text(), headline(facts), _stream(facts), Text()]
    parts.append(_trainers([one for one in facts["trainers"] if one in shown]))
    if rest:
        ahead = f"and {plural(len(rest), 'other trainer')}, further along: {_span(rest, 'share', percent)}"
        parts.append(Text(ahead, style="dim"))
    return Group(*parts)


def plain_line(facts: Facts) -> str:
    """`demo  running  12% · 61M of 500M tokens · 124k tokens/s · 1 h 02 min left · FVU 0.0714 to 0.1302 · …`."""
    parts = [headline(facts).plain]
    trainers = facts["trainers"]
    if any(one["fvu"] is not None for one in trainers):
        parts.append(f"FVU {_fvus(trainers)}")
    if any(one["lag_blocks"] > 1 for one in trainers):
        parts.append(f"lag {plural(max(one['lag_blocks'] for one in trainers), 'block')}")
    if facts["limiting_stage"]:
        parts.append(f"bound by {facts['limiting_stage']}")
    return " · ".join(parts)


def event_text(event: Event) -> Text:
    """`14:03:12  producer-1 died (exit 137); unit 417 leased again`."""
    bad = any(word in event.kind for word in BAD_WORDS)
    clock = time.strftime("%H:%M:%S", time.localtime(event.time_ms / 1000))
    return Text.assemble((clock, "dim"), "  ", (event.message or event.kind, "yellow" if bad else ""))


def final_table(job: Job, rows: Sequence[Mapping[str, Any]]) -> Table:
    """The SAEs at the end of a run.

    Args:
        rows: what each SAE's metrics.json holds, with its `name`, and `tokens_per_s` where that is known.
    """
    columns = ("name", "latents", "tokens", "FVU", "L0", "dead %", "tokens/s")
    table = plain_table(*columns, left=("name",))
    latents = {trainer.name: trainer.num_latents for trainer in job.trainers}
    for row in rows:
        dead = row.get("dead_fraction")
        table.add_row(
            cell(row["name"], "bold"),
            whole(latents.get(row["name"], row.get("num_latents"))),
            count(row.get("tokens")),
            decimals(row.get("fvu"), 4),
            decimals(row.get("l0"), 1),
            decimals(None if dead is None else 100 * dead, 1),
            count(row.get("tokens_per_s")),
        )
    return table


def _stream(facts: Facts) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row("stream", " · ".join(_stream_parts(facts)) or NONE)
    if facts["limiting_stage"]:
        grid.add_row("bound by", limit_text(facts))
    return grid


def _stream_parts(facts: Facts) -> list[str]:
    lanes = facts["lanes"]
    if not lanes:
        return []
    names = ("rows_per_s", "resident", "buffer_rows", "log_bytes", "spool_bytes")
    total = {name: sum(lane[name] for lane in lanes) for name in names}
    contexts = [lane["block_contexts"] for lane in lanes if lane["block_contexts"]]
    parts = [f"{count(total['rows_per_s'])} rows/s"]
    parts.append(f"reservoir {percent(min(1.0, total['resident'] / total['buffer_rows']))}")
    if contexts:
        parts.append(f"{whole(sum(contexts) / len(contexts))} contexts per block")
    limit = sum(lane["log_bytes_limit"] for lane in lanes)
    parts.append(f"log {format_bytes(total['log_bytes'])} of {format_bytes(limit)}{spooled(total['spool_bytes'])}")
    if facts["checkpoint"] is not None:
        parts.append(f"checkpoint {whole(facts['checkpoint'])}")
    return parts


def _trainers(trainers: Sequence[Facts]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, collapse_padding=True, pad_edge=False, header_style="dim")
    table.expand, table.border_style = True, "bright_black"
    table.add_column("trainer", no_wrap=True, overflow="ellipsis")
    table.add_column("", ratio=1, min_width=4)
    for name in ("", "tok/s", "FVU", "L0", "dead", "lag"):
        table.add_column(name, justify="right", no_wrap=True)
    for one in trainers:
        table.add_row(Text(one["name"]), _bar(one), percent(one["share"]), *trainer_numbers(one))
    return table


def _bar(one: Facts) -> RenderableType:
    if one["state"] in ("running", "finished"):
        style = "green" if one["state"] == "finished" else "cyan"
        return ProgressBar(total=1.0, completed=one["share"], complete_style=style, finished_style="green")
    return cell(one["state"], "yellow")


def _fvus(trainers: Sequence[Facts]) -> str:
    if len(trainers) > MAX_NAMED:
        return _span([one for one in trainers if one["fvu"] is not None], "fvu", lambda value: decimals(value, 4))
    return ", ".join(f"{decimals(one['fvu'], 4)} {one['name']}" for one in trainers)


def _span(trainers: Sequence[Facts], key: str, wording: Callable[[float], str]) -> str:
    low, high = (wording(extreme(one[key] for one in trainers)) for extreme in (min, max))
    return low if low == high else f"{low} to {high}"
