"""What people see of a job in the terminal, drawn from the facts of `status.status_facts`."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cluster.wording import NONE, count, decimals, duration, percent, plural, whole
from shared.quantity import format_bytes
from shared.registry_facts import JobSummary

STATE_STYLES = {
    "queued": "dim",
    "starting": "cyan",
    "running": "green",
    "degraded": "yellow",
    "draining": "cyan",
    "stopped": "yellow",
    "detached": "yellow",
    "failed": "bold red",
    "finished": "bold green",
}
DIGEST_LETTERS = 12
WIDE = 100
"""Letters a line from which tables show everything."""

Facts = Mapping[str, Any]


def plain_table(*columns: str, left: Sequence[str] = ()) -> Table:
    """A table with one line under its head. Numbers are never cut: where it is narrow, columns in `left` give way."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, collapse_padding=True, pad_edge=False, header_style="dim")
    table.border_style = "bright_black"
    for column in columns:
        if column in left:
            table.add_column(Text(column, no_wrap=True, overflow="ellipsis"))
        else:
            table.add_column(column, justify="right", no_wrap=True)
    return table


def cell(text: str, style: str = "") -> Text:
    """What stands in a column that may give way."""
    return Text(text, style, no_wrap=True, overflow="ellipsis")


def state_text(state: str) -> Text:
    return cell(state, STATE_STYLES.get(state, ""))


def lost_driver() -> Text:
    return cell("driver lost", "bold red")


def headline(facts: Facts) -> Text:
    """`gpt2-sizes  running  12% · 61.0M of 500M tokens · 124k tokens/s · 1 h 02 min left`."""
    share = min(1.0, facts["tokens"] / facts["tokens_wanted"])
    parts = [percent(share), f"{count(facts['tokens'])} of {count(facts['tokens_wanted'])} tokens"]
    if facts["tokens_per_s"]:
        parts.append(f"{count(facts['tokens_per_s'])} tokens/s")
    if facts["seconds_left"]:
        parts.append(f"{duration(facts['seconds_left'])} left")
    state = lost_driver() if facts["has_lost_driver"] else state_text(facts["state"])
    line = Text.assemble((facts["job"], "bold"), "  ", state, "  ", " · ".join(parts))
    return line.append(f"  {facts['message']}", style="red") if facts["message"] else line


def limit_text(facts: Facts) -> Text:
    """`producers: lanes and trainers wait for rows`."""
    if not facts["limiting_stage"]:
        return Text(NONE, style="dim")
    return Text.assemble((facts["limiting_stage"], "bold"), f": {facts['limiting_reason']}")


def trainer_numbers(one: Facts) -> tuple[str, ...]:
    """Tokens/s, FVU, L0, dead and lag, which every table of trainers has."""
    rate, lag = count(one["tokens_per_s"] or None), whole(one["lag_blocks"])
    return (rate, decimals(one["fvu"], 4), decimals(one["l0"], 1), percent(one["dead_fraction"]), lag)


def status_view(facts: Facts, width: int) -> RenderableType:
    """`headrace status`, for a terminal of so many letters a line."""
    gap = Text()
    parts: list[RenderableType] = [headline(facts), _grid(facts), gap, _trainers(facts, width >= WIDE), gap]
    if any(one["evaluation"] for one in facts["trainers"]):
        parts += [_evaluations(facts), gap]
    parts += [_lanes(facts), gap, _producers(facts), gap, ledger_text(facts)]
    parts += [Text(f"unit {one['unit']} was set aside: {one['error']}", "yellow") for one in facts["units_set_aside"]]
    return Group(*parts)


def jobs_table(jobs: Sequence[JobSummary], now_ms: int | None = None) -> Table:
    """`headrace jobs`, newest last."""
    now_ms = round(time.time() * 1000) if now_ms is None else now_ms
    table = plain_table("job", "state", "tokens", "begun", "output", left=("job", "state", "begun", "output"))
    for one in jobs:
        if one.damage:
            table.add_row(cell(one.name, "bold"), Text("damaged", style="bold red"), NONE, NONE, cell(one.damage))
            continue
        lost = not one.state.is_terminal and not one.is_active
        state = lost_driver() if lost and one.driver_age_ms is not None else state_text(one.state)
        begun = f"{duration(max(0, now_ms - one.created_ms) / 1000)} ago"
        table.add_row(cell(one.name, "bold"), state, count(one.tokens), cell(begun), cell(_short_path(one.output)))
    return table


def ledger_text(facts: Facts) -> Text:
    """One line, or one for each thing that does not balance."""
    ledger = facts["ledger"]
    if ledger["imbalances"]:
        return Text("\n".join(["the ledger does not balance:", *ledger["imbalances"]]), style="bold red")
    names = [name for name in ("staged", "resident", "emitted", "surplus") if ledger[name] or name == "emitted"]
    where = " + ".join(f"{whole(ledger[name])} {name}" for name in names)
    return Text.assemble(("ledger  ", "dim"), f"{whole(ledger['pushed'])} rows pushed = {where}; it balances")


def _grid(facts: Facts) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    checkpoint = facts["checkpoint"]
    grid.add_row("blocks", f"{whole(facts['blocks'])} of {whole(facts['blocks_wanted'])}")
    grid.add_row("checkpoint", NONE if checkpoint is None else f"block {whole(checkpoint)}")
    held_out = facts["held_out_contexts"]
    grid.add_row("held out", f"about {plural(held_out, 'context')}, read by no trainer" if held_out else NONE)
    grid.add_row("bound by", limit_text(facts))
    grid.add_row("output", Text(_short_path(facts["output"])))
    if facts["has_lost_driver"] or facts["state"] in ("stopped", "failed"):
        grid.add_row("go on with", Text(f"headrace resume {_short_path(facts['output'])}"))
    return grid


def _trainers(facts: Facts, wide: bool) -> Table:
    """Architecture and digest only where there is room, hookpoints only where trainers differ in them."""
    numbers = ("latents", "tokens", "tok/s", "FVU", "L0", "dead", "lag")
    several = len({one["hookpoint"] for one in facts["trainers"]}) > 1
    kinds = ("kind", "hookpoint") if several else ("kind",)
    columns = ("trainer", "state", *kinds, *numbers, "digest") if wide else ("trainer", "state", *numbers)
    table = plain_table(*columns, left=("trainer", "state", *kinds, "digest"))
    for one in facts["trainers"]:
        shown = (one["architecture"], one["hookpoint"])[: len(kinds)]
        kind = tuple(cell(text or NONE) for text in shown) if wide else ()
        digest = (cell((one["digest"] or NONE)[:DIGEST_LETTERS], "dim"),) if wide else ()
        sizes = (whole(one["num_latents"]), count(one["tokens"]))
        table.add_row(cell(one["name"]), state_text(one["state"]), *kind, *sizes, *trainer_numbers(one), *digest)
    return table


def spooled(num_bytes: int) -> str:
    """What is added to the log's size when blocks lie on disk."""
    return f" + {format_bytes(num_bytes)} on disk" if num_bytes else ""


def _evaluations(facts: Facts) -> Table:
    """What was measured on held-out text while the job ran."""
    table = plain_table("held out", "as of", "FVU", "L0", "dead", "ΔCE", "recovered", "KL", left=("held out",))
    for one in facts["trainers"]:
        if found := one["evaluation"]:
            numbers = (decimals(found["fvu"], 4), decimals(found["l0"], 1), percent(found["dead_fraction"]))
            table.add_row(cell(one["name"]), f"{count(found['tokens'])} tokens", *numbers, *splice_numbers(found))
    return table


def splice_numbers(splice: Facts) -> tuple[str, str, str]:
    """ΔCE, recovered and KL, as every table has them."""
    increase, recovered, kl = (splice.get(name) for name in ("ce_increase", "ce_recovered", "kl_spliced"))
    return decimals(increase, 4), decimals(recovered, 4), decimals(kl, 4)


def _lanes(facts: Facts) -> Table:
    columns = ("lane", "rows/s", "next block", "reservoir", "staged", "contexts", "log")
    table = plain_table(*columns, left=("lane",))
    for one in facts["lanes"]:
        log = f"{format_bytes(one['log_bytes'])} of {format_bytes(one['log_bytes_limit'])}{spooled(one['spool_bytes'])}"
        filled = percent(min(1.0, one["resident"] / one["buffer_rows"]))
        numbers = (whole(one["next_block"]), filled, count(one["staged"]), whole(one["block_contexts"] or None), log)
        table.add_row(cell(one["name"]), count(one["rows_per_s"] or None), *numbers)
    return table


def _producers(facts: Facts) -> Table:
    table = plain_table("producer", "units", "heard", left=("producer", "units", "heard"))
    for one in facts["producers"]:
        heard = NONE if one["heard_s_ago"] is None else f"{one['heard_s_ago']:.1f} s ago"
        table.add_row(cell(one["name"]), cell(_units(one["units"])), cell(heard))
    return table


def _units(units: Sequence[int]) -> str:
    shown = ", ".join(str(unit) for unit in units[:4])
    return f"{shown} and {plural(len(units) - 4, 'other')}" if len(units) > 4 else shown or NONE


def _short_path(path: str) -> str:
    """Relative to where the user is, if it lies below."""
    try:
        return str(Path(path).relative_to(Path.cwd()))
    except ValueError:
        return path
