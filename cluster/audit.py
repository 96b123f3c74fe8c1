"""`headrace ledger`: the books of a job laid open, so that somebody who trusts nobody can add them up.

leased >= pushed = staged + resident + emitted + surplus      of each lane, in rows
read + gap = rows of the blocks below the cursor              of each trainer
"""

from collections.abc import Iterable
from itertools import groupby
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cluster.status_table import Facts, cell, plain_table
from cluster.wording import NONE, plural, whole
from shared.ledger import TrainerLedger, ledger
from shared.registry_snapshot import LaneFacts, Snapshot

PLACES = ("announced", "pushed", "staged", "resident", "emitted", "surplus")


def audit_facts(snapshot: Snapshot) -> Facts:
    """What `headrace ledger JOB --json` prints: rows by place, units by place, and what each trainer has read."""
    balance = ledger(snapshot)
    return {
        "job": snapshot.job.name,
        "state": str(snapshot.job.state),
        "lanes": [_lane(number, lane, snapshot) for number, lane in enumerate(snapshot.lanes)],
        "trainers": [_trainer(one, snapshot) for one in balance.trainers],
        "units": _units(snapshot),
        "held_out_contexts": snapshot.job.held_out_contexts,
        "imbalances": balance.imbalances(),
        "orders": _orders(snapshot),
    }


def audit_view(facts: Facts) -> RenderableType:
    """The same for people."""
    gap = Text()
    parts: list[RenderableType] = [_lanes(facts), gap, _unit_lines(facts), gap, _trainers(facts), gap]
    return Group(*parts, *_verdict(facts))


def _lane(number: int, lane: LaneFacts, snapshot: Snapshot) -> dict[str, Any]:
    one, lanes = lane.counters, len(snapshot.lanes)
    rows = {name: getattr(one, name) for name in PLACES[1:]}
    return {
        "name": f"lane-{number}",
        "announced": lane.announced,
        **rows,
        "blocks_emitted": f"{number} to {lane.high_block - lanes}" if lane.high_block >= lanes else None,
        "log_from_block": one.log_first_block,
        "units_taken_in_below": number + lanes * one.head,
        "rows_of_the_unit_at_head_taken_in": one.open_rows,
    }


def _trainer(one: TrainerLedger, snapshot: Snapshot) -> dict[str, Any]:
    counters = snapshot.trainers[one.name]
    return {
        "name": one.name,
        "read": one.read,
        "gap": one.gap,
        "blocks_below": one.cursor,
        "rows_below": one.below_cursor,
        "address_digest": counters.address_digest,
        "bits_digest": counters.bits_digest,
    }


def _units(snapshot: Snapshot) -> dict[str, Any]:
    units = snapshot.units
    return {
        "of_the_corpus": snapshot.job.num_units,
        "leased": {str(unit): holder for unit, holder in sorted(units.leased.items())},
        "pushed_whole_and_not_taken_in": sorted(units.finished),
        "came_back": sorted(units.ready),
        "set_aside": {str(one.unit): one.error for one in units.dead},
    }


def _orders(snapshot: Snapshot) -> dict[str, bool]:
    """Block -> whether all trainers that stand at it have read the same rows in the same order."""
    whole_readers = [one for one in snapshot.trainers.values() if not one.gap_rows]
    ordered = sorted(whole_readers, key=lambda one: one.cursor)
    groups = {
        cursor: {one.address_digest for one in found} for cursor, found in groupby(ordered, lambda one: one.cursor)
    }
    return {str(cursor): len(digests) == 1 for cursor, digests in groups.items()}


def _lanes(facts: Facts) -> Table:
    table = plain_table("lane", "leased", *PLACES[1:], "blocks", left=("lane",))
    for one in facts["lanes"]:
        table.add_row(cell(one["name"]), *(whole(one[name]) for name in PLACES), one["blocks_emitted"] or NONE)
    if len(facts["lanes"]) > 1:
        table.add_row(cell("all", "bold"), *(whole(sum(one[name] for one in facts["lanes"])) for name in PLACES))
    return table


def _unit_lines(facts: Facts) -> Text:
    units = facts["units"]
    lines = [f"{plural(units['of_the_corpus'], 'unit')} in the corpus"]
    if facts["held_out_contexts"]:
        lines[0] += f"; about {plural(facts['held_out_contexts'], 'context')} are held out, in none of them"
    lines += [
        f"{one['name']} has taken in its units below {whole(one['units_taken_in_below'])}"
        + (
            f", and {plural(one['rows_of_the_unit_at_head_taken_in'], 'row')} of the next"
            if one["rows_of_the_unit_at_head_taken_in"]
            else ""
        )
        for one in facts["lanes"]
    ]
    lines += [f"unit {unit} is leased to {holder}" for unit, holder in units["leased"].items()]
    lines += _listed("pushed whole and waiting for their turn", units["pushed_whole_and_not_taken_in"])
    lines += _listed("came back and waiting for a producer", units["came_back"])
    lines += [f"unit {unit} was set aside: {error}" for unit, error in units["set_aside"].items()]
    return Text("\n".join(lines))


def _listed(where: str, units: Iterable[int]) -> list[str]:
    names = ", ".join(map(str, units))
    return [f"{where}: units {names}"] if names else []


def _trainers(facts: Facts) -> Table:
    table = plain_table(
        "trainer",
        "rows read",
        "passed over",
        "blocks below",
        "addresses",
        "bits",
        left=("trainer", "addresses", "bits"),
    )
    for one in facts["trainers"]:
        numbers = (whole(one["read"]), whole(one["gap"]), whole(one["blocks_below"]))
        digests = (cell(one["address_digest"] or NONE, "dim"), cell(one["bits_digest"] or NONE, "dim"))
        table.add_row(cell(one["name"]), *numbers, *digests)
    return table


def _verdict(facts: Facts) -> list[Text]:
    found = [Text(sentence, style="bold red") for sentence in facts["imbalances"]]
    found += [
        Text(f"trainers at block {block} have not read the same rows in the same order", style="bold red")
        for block, is_one in facts["orders"].items()
        if not is_one
    ]
    return found or [
        Text("The ledger balances, and trainers at the same block have read the same rows in the same order.")
    ]
