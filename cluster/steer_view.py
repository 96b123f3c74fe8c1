"""What `headrace features steer` prints: texts side by side, or a line for each dose."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from cluster.status_table import cell, plain_table
from cluster.wording import decimals, percent

Facts = Mapping[str, Any]
LONGEST = 60
"""Letters of a text in a table of doses."""


def comparison_view(facts: Facts) -> RenderableType:
    """`facts` as `run_steer.compare_turns` gives them."""
    parts: list[RenderableType] = [_headline(facts)]
    for one in facts["samples"]:
        table = side_by_side(facts["prompt"], one["baseline"], one["steered"])
        kl, surprise = decimals(one["mean_kl"], 3), decimals(one["surprise"], 2)
        told = f"KL {kl} nats a token; to the model as it is, {surprise} nats of surprise"
        parts += [Text(), table, Text(told, "dim")]
    return Group(*parts)


def side_by_side(prompt: str, baseline: str, steered: str) -> Table:
    """The two texts after the prompt."""
    table = Table.grid(expand=True, padding=(0, 2))
    table.add_column(ratio=1, overflow="fold")
    table.add_column(ratio=1, overflow="fold")
    table.add_row(Text("as it is", "dim"), Text("steered", "dim"))
    table.add_row(*(Text(prompt) + Text(one, "bold") for one in (baseline, steered)))
    return table


@contextmanager
def while_writing(prompt: str, console: Console) -> Iterator[Callable[[str, str], None]]:
    """Gives what shows the texts as they grow, on a terminal; what it has shown is gone when the block ends."""
    texts = {"baseline": "", "steered": ""}
    with Live(console=console, transient=True, auto_refresh=False) as live:

        def show(side: str, text: str) -> None:
            texts[side] = text
            live.update(side_by_side(prompt, texts["baseline"], texts["steered"]), refresh=console.is_terminal)

        yield show


def doses_view(facts: Facts) -> RenderableType:
    """`facts` as `run_steer.dose_turns` gives them."""
    has_targets = bool(facts["targets"])
    columns = ("dose", "KL", "surprise", *(("targets", "likely") if has_targets else ()), "writes")
    table = plain_table(*columns, left=("writes",))
    for one in facts["doses"]:
        numbers = [f"{one['strength']:g}", decimals(one["kl"], 3), decimals(one["loss"], 2)]
        if has_targets:
            numbers += [percent(one["target_share"]), percent(one["target_probability"])]
        table.add_row(*numbers, cell(" ".join(one["written"][0].split())[:LONGEST]))
    parts: list[RenderableType] = [_headline(facts), Text(), table]
    if has_targets:
        parts.append(Text(f"targets  {' '.join(repr(one) for one in facts['targets'])}", "dim"))
    return Group(*parts)


def _headline(facts: Facts) -> Text:
    """`topk-1024 · latent 31 · add 2 of 8.41 on both`, a line for each."""
    lines = []
    for one in facts["steerings"]:
        amount = "" if one["mode"] == "ablate" else f" {one['strength']:g}"
        unit = f" of {one['one_is']:.3g}" if amount and one["one_is"] != 1 else ""
        lines.append(f"{one['sae']} · latent {one['latent']} · {one['mode']}{amount}{unit} on {one['on']}")
    return Text("\n".join(lines), "bold")
