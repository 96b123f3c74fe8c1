"""What `headrace evaluate` prints: one line for each SAE, and above them what all share."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cluster.status_table import WIDE, cell, plain_table, splice_numbers
from cluster.wording import decimals, percent, plural

Facts = Mapping[str, Any]


def evaluation_view(found: Sequence[Facts], name: str, width: int) -> RenderableType:
    """`found` as evaluation.json has it, of the SAEs of the run `name`, for a terminal of so many letters a line."""
    parts: list[RenderableType] = [headline(found[0], name), Text(), _table(found, width >= WIDE)]
    if found[0]["no_splice"]:
        parts.append(Text(f"no loss with reconstructions in place: {found[0]['no_splice']}", "yellow"))
    return Group(*parts)


def headline(one: Facts, name: str) -> Text:
    """`demo  219 held-out contexts, 27,633 tokens · cross-entropy 2.813 nats, 9.871 with zeros, 6.502 with means`."""
    parts = [f"{plural(one['contexts'], 'held-out context')}, {plural(one['tokens'], 'token')}"]
    if splice := one["splice"]:
        clean, zero, mean = (decimals(splice[key], 3) for key in ("ce_clean", "ce_zero", "ce_mean"))
        parts.append(f"cross-entropy {clean} nats, {zero} with zeros, {mean} with means")
    return Text.assemble((name, "bold"), "  ", " · ".join(parts))


def _table(found: Sequence[Facts], wide: bool) -> Table:
    """What is lost stands beside what is reconstructed; lengths and densities only where there is room."""
    spliced = any(one["splice"] for one in found)
    columns = ("SAE", "FVU", "L0", "dead", *(("ΔCE", "recovered", "KL") if spliced else ()))
    table = plain_table(*columns, *(("cosine", "shrinkage", "dense") if wide else ()), left=("SAE",))
    for one in found:
        numbers = [decimals(one["fvu"], 4), decimals(one["l0"], 1), percent(one["dead_fraction"])]
        numbers += splice_numbers(one["splice"] or {}) if spliced else ()
        if wide:
            numbers += [decimals(one["cosine"], 4), decimals(one["shrinkage"], 3)]
            numbers.append(percent(one["dense_fraction_10_percent"]))
        table.add_row(cell(one["name"], "bold"), *numbers)
    return table
