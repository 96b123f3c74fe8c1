"""What is told of text that no trainer has read, in the report and on the page: every SAE's numbers, and of what."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cluster.html import Html, element, table
from cluster.run_facts import SaeRow
from cluster.wording import count, decimals, percent, plural, whole

HEAD = ["SAE", "as of", "FVU", "L0", "dead", "dense", "cosine", "shrinkage", "ΔCE", "recovered", "KL"]
NOTE = (
    "Dead latents did not fire on any of these tokens; dense ones fire on more than a tenth. ΔCE is how much the "
    "model's cross-entropy rises, in nats per token, with the reconstruction in place of its activations; recovered is "
    "the share of what zeros in place would cost; KL is from the model's own predictions to those. A dash: unmeasured."
)


@dataclass(frozen=True)
class HeldOut:
    """A table as it reads."""

    lead: str
    head: list[str]
    rows: list[list[str]]
    """Each begins with an SAE's name."""
    note: str


def held_out(saes: Sequence[SaeRow]) -> HeldOut | None:
    """Of the SAEs that were measured, finished or in training; None where none was."""
    measured = [(one.name, one.held_out) for one in saes if one.held_out]
    if not measured:
        return None
    rows = [[name, *_numbers(found)] for name, found in measured]
    return HeldOut(_lead([found for _, found in measured]), HEAD, rows, NOTE)


def held_out_section(saes: Sequence[SaeRow], names: Sequence[Html]) -> Html | None:
    """None where nothing was measured; `names` are the SAEs' as the report shows them."""
    found = held_out(saes)
    if found is None:
        return None
    shown = {one.name: name for one, name in zip(saes, names, strict=True)}
    rows = [[shown[name], *numbers] for name, *numbers in found.rows]
    parts = [element("h2", "Held-out text"), element("p", found.lead), table(found.head, rows, words=(0,))]
    return element("section", *parts, element("p", found.note, class_="note"))


def _numbers(found: dict[str, Any]) -> list[str]:
    trained = found.get("trained_tokens")
    return [
        "the end" if trained is None else f"{count(trained)} tokens",
        decimals(found.get("fvu"), 4),
        decimals(found.get("l0"), 1),
        percent(found.get("dead_fraction")),
        percent(found.get("dense_fraction_10_percent")),
        decimals(found.get("cosine"), 4),
        decimals(found.get("shrinkage"), 3),
        decimals(found.get("ce_increase"), 4),
        decimals(found.get("ce_recovered"), 4),
        decimals(found.get("kl_spliced"), 4),
    ]


def _lead(measured: Sequence[dict[str, Any]]) -> str:
    """Which text, and what the model does on it by itself; of SAEs that were measured on different text, the least."""
    least = min(measured, key=lambda one: one["contexts"])
    sentences = [f"Measured on {plural(int(least['contexts']), 'context')} that no trainer has read."]
    if least.get("tokens"):
        sentences[0] = sentences[0].replace(" that", f" ({whole(least['tokens'])} tokens) that")
    if least.get("ce_clean") is not None:
        clean, zero, mean = (decimals(least[name], 3) for name in ("ce_clean", "ce_zero", "ce_mean"))
        sentences.append(
            f"The model's cross-entropy there is {clean} nats, {zero} with zeros in place, {mean} with means."
        )
    if least.get("no_splice"):
        sentences.append(f"There is no loss with reconstructions in place: {least['no_splice']}.")
    return " ".join(sentences)
