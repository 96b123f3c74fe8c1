"""What `headrace plan` prints, and how it reads as JSON."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cluster.budget_plan import Advice, Request
from cluster.comparison import law_facts
from cluster.status_table import cell, plain_table
from cluster.suite import Site
from cluster.suite_laws import as_floats
from cluster.wording import count, percent, whole
from trainers.budget import Costs

SIZES = tuple(2**power for power in range(10, 25, 2))
"""Of the table of costs."""


def plan_view(request: Request, advice: Sequence[Advice], notes: Sequence[str]) -> RenderableType:
    """The advice, site by site."""
    parts: list[RenderableType] = []
    for site in dict.fromkeys(one.site for one in advice):
        mine = [one for one in advice if one.site == site]
        parts += [_headline(request, site, mine[0].costs), Text(), _advice_table(mine), Text()]
        parts += [Text(f"{_subject(one)}: {note}", style="yellow") for one in mine for note in one.notes]
        parts += [Text(_basis(one), style="dim") for one in mine]
    return Group(*parts, *(Text(note, style="yellow") for note in notes))


def plan_facts(request: Request, advice: Sequence[Advice], notes: Sequence[str]) -> dict[str, Any]:
    """For JSON."""
    return {**_asked(request), "advice": [_advice_facts(one) for one in advice], "notes": list(notes)}


def cost_view(request: Request, costs: Costs) -> RenderableType:
    """What each size costs: all that can be told without a law."""
    table = plain_table("latents", "FLOPs a token", "tokens that the budget pays for")
    for row in _cost_rows(request, costs):
        table.add_row(whole(row["num_latents"]), f"{row['flops_per_token']:.3g}", count(row["tokens"]))
    head = Text(f"{request.compute:.3g} FLOPs · {costs.shape.architecture}, width {costs.shape.d_in}", style="bold")
    parts: list[RenderableType] = [head, Text(), table, Text()]
    if request.tokens:
        widest = costs.widest(request.compute, request.tokens)
        parts.append(Text(f"{count(request.tokens)} tokens: at most {count(widest)} latents"))
    parts.append(Text("Which of these is best, only a law can tell: give --run, with finished SAEs.", style="yellow"))
    return Group(*parts)


def cost_facts(request: Request, costs: Costs) -> dict[str, Any]:
    """For JSON."""
    facts = {**_asked(request), "model_flops_per_token": costs.model_flops, "costs": _cost_rows(request, costs)}
    return {**facts, "widest": costs.widest(request.compute, request.tokens) if request.tokens else None}


def _cost_rows(request: Request, costs: Costs) -> list[dict[str, float]]:
    per_token = costs.per_token(as_floats(*SIZES)).tolist()
    limit = request.tokens or np.inf
    return [
        {"num_latents": size, "flops_per_token": flops, "tokens": min(request.compute / flops, limit)}
        for size, flops in zip(SIZES, per_token, strict=True)
    ]


def _asked(request: Request) -> dict[str, Any]:
    return {"compute": request.compute, "max_tokens": request.tokens, "num_sizes": request.num_sizes}


def _headline(request: Request, site: Site, costs: Costs) -> Text:
    parts = [f"{request.compute:.3g} FLOPs", f"the model takes {costs.model_flops:.3g} a token"]
    if request.num_sizes > 1:
        parts.append(f"{request.num_sizes} SAEs on one stream, each a quarter as wide as the next; the widest is told")
    return Text.assemble((str(site), "bold"), "  ", " · ".join(parts))


def _advice_table(advice: list[Advice]) -> Table:
    """In round numbers what to train, then how certain that is."""
    table = plain_table("", "num_latents", "tokens", "FVU", "90%", "best size", "90%", "within 1%", left=("",))
    for one in advice:
        loss, best, rounded = one.rounded.loss, one.spending.latents, one.rounded
        train = (
            whole(rounded.latents),
            count(rounded.tokens),
            f"{loss.value:.4f}",
            f"{loss.low:.4f} … {loss.high:.4f}",
        )
        size = (count(best.value), _between(best.low, best.high), _between(*one.spending.as_good))
        table.add_row(cell(_subject(one), "bold"), *train, *(size if one.knows_tokens else (count(best.value), "", "")))
    return table


def _between(low: float, high: float) -> str:
    return f"{count(low)} … {count(high)}"


def _subject(one: Advice) -> str:
    return f"{one.architecture} {one.sparsity}".strip()


def _basis(one: Advice) -> str:
    held_out, share = (
        one.law.fit.held_out,
        one.costs.model_flops / one.costs.per_token(as_floats(one.rounded.latents))[0],
    )
    foretold = f"each SAE foretold from the others to {percent(held_out.median)} (worst {percent(held_out.worst)})"
    law = f"the law {one.law.fit.form.name} of {len(one.law.saes)} SAEs, {foretold}"
    return f"{_subject(one)}: by {law}; the model is {percent(float(share))} of the cost"


def _advice_facts(one: Advice) -> dict[str, Any]:
    return {
        **one.site._asdict(),
        "architecture": one.architecture,
        "sparsity": one.sparsity,
        "num_latents": one.rounded.latents,
        "tokens": one.rounded.tokens,
        "fvu": one.rounded.loss._asdict(),
        "best": {
            "num_latents": one.spending.latents._asdict(),
            "tokens": one.spending.tokens._asdict(),
            "fvu": one.spending.loss._asdict(),
            "as_good": list(one.spending.as_good),
        },
        "knows_tokens": one.knows_tokens,
        "flops_per_token": {
            "model": one.costs.model_flops,
            "all": float(one.costs.per_token(as_floats(one.rounded.latents))[0]),
        },
        "law": law_facts(one.law),
        "notes": one.notes,
    }
