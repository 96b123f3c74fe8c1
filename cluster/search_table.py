"""What `headrace features search` prints."""

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from cluster.feature_search import Found
from cluster.status_table import cell, plain_table
from cluster.text_anomaly import Anomaly, OddToken
from cluster.wording import NONE, decimals

HEADINGS = {
    "share": "on words",
    "contexts": "contexts",
    "cosine": "cosine",
    "difference": "difference",
    "positive_share": "fires with",
    "negative_share": "without",
    "loss_rise_positive": "Δloss with",
    "loss_rise_negative": "Δloss without",
}
"""Of the numbers that a table has room for."""
PLACES = {"contexts": 0, "difference": 2, "cosine": 3, "loss_rise_positive": 3, "loss_rise_negative": 3}
WIDTH = 20
"""Letters of a context on either side."""
SHOWN_TOKENS = 8
STRONG, FAINT = "bold yellow", "dim"


def search_view(found: Sequence[Found]) -> RenderableType:
    """One line for each latent."""
    if not found:
        return Text("nothing was found", "yellow")
    keys = [key for key in HEADINGS if any(one.numbers.get(key) is not None for one in found)]
    table = plain_table(
        "SAE", "latent", *(HEADINGS[key] for key in keys), "strongest context", left=("SAE", "strongest context")
    )
    table.columns[0].no_wrap = True  # in a narrow terminal it is the context that gives way
    for one in found:
        numbers = [_number(one.numbers.get(key), PLACES.get(key, 2)) for key in keys]
        table.add_row(cell(one.sae, "bold"), str(one.latent), *numbers, _context(one))
    return table


def anomaly_view(found: Sequence[Anomaly]) -> RenderableType:
    """Of each SAE its score, and the oddest tokens."""
    parts: list[RenderableType] = []
    for one in found:
        median, high = one.ordinary_scores
        shown = f"{one.score:.2f}, ordinary text {median:.2f}, 95 in 100 below {high:.2f}"
        parts.append(Text.assemble((one.sae, "bold"), f"  {shown}"))
        table = plain_table("token", "badly reconstructed", "rare", "by latent", left=("token",))
        for token in sorted(one.tokens, key=_oddness, reverse=True)[:SHOWN_TOKENS]:
            latent = NONE if token.latent is None else str(token.latent)
            table.add_row(
                cell(repr(token.token)), decimals(token.error_surprise, 2), decimals(token.rarity_surprise, 2), latent
            )
        parts += [table, Text()]
    return Group(*parts)


def _oddness(token: OddToken) -> float:
    return max(token.error_surprise, token.rarity_surprise)


def _number(value: float | int | None, places: int) -> str:
    return decimals(value, places)


def _context(one: Found) -> Text:
    before, strongest, after = (part.replace("\n", "↵") for part in one.context)
    shown = Text.assemble((before[-WIDTH:], FAINT), (f"⟦{strongest}⟧", STRONG), (after[:WIDTH], FAINT))
    whole = Text.assemble((f"{one.label}  ", "green"), shown) if one.label else shown
    whole.no_wrap, whole.overflow = True, "ellipsis"
    return whole
