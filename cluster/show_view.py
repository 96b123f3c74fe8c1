"""What `headrace features show` prints of each latent."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cluster.latent_view import TOP
from cluster.status_table import cell
from cluster.vocabulary import BYTES
from cluster.wording import decimals, percent

Facts = Mapping[str, Any]
BEFORE, AFTER = 40, 24
"""Letters of a context on either side of its strongest token."""
NUM_TOKENS, NUM_NEAREST = 10, 4
LEFT = 10
"""Letters of what stands before each line."""
FAINT, WARM, STRONG = "dim", "yellow", "bold yellow"
WARM_SHARE = 0.25
"""Of the greatest activation of a context, from which a token is shown as warm."""


def latents_view(found: Sequence[Facts], num_contexts: int, is_brief: bool) -> RenderableType:
    """`found` as `feature_facts.latent_facts` gives them; a brief view leaves out what a list has no room for."""
    if not found:
        return Text("no latent is like that", "yellow")
    parts: list[RenderableType] = []
    for one in found:
        parts += [_headline(one), _said(one, is_brief), _contexts(one, num_contexts), Text()]
    return Group(*parts[:-1])


def _headline(one: Facts) -> Text:
    """`topk-1024/55  fires on 1.2% of tokens · max 8.41 · FVU share 0.0031`."""
    name = (f"{one['sae']}/{one['latent']}", "bold")
    if one["dead"]:
        return Text.assemble(name, "  never fired")
    numbers = one["numbers"]
    told = [f"fires on {percent(numbers['density'])} of tokens", f"max {numbers['max_act']:.3g}"]
    told.append(f"FVU share {decimals(numbers['fvu_share'], 4)}")
    return Text.assemble(name, "  ", " · ".join(told))


def _said(one: Facts, is_brief: bool) -> Table:
    """Label, explanations with their scores, tokens, neighbours: a line each."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style=FAINT, no_wrap=True, min_width=LEFT)
    table.add_column(no_wrap=True, overflow="ellipsis")
    if label := one["label"]:
        table.add_row("label", cell("  ".join([label["text"], *(f"#{tag}" for tag in label["tags"])]), "green"))
    for explained in one["explanations"]:
        table.add_row(explained["source"], cell(_explained(explained)))
    table.add_row("likelier", _tokens(one["promoted"]))
    if not is_brief:
        table.add_row("unlikelier", _tokens(one["suppressed"]))
        for side in one["neighbors"]:
            near = "  ".join(f"{each['latent']} ({each['cosine']:.2f})" for each in side["latents"][:NUM_NEAREST])
            table.add_row("nearest", cell(f"{side['sae']}  {near}"))
    return table


def _explained(one: Facts) -> str:
    scores = [f"{each['method']} {decimals(each['value'], 2)}" for each in one["scores"]]
    return "  ".join([", ".join(scores), one["text"]]) if scores else one["text"]


def _tokens(promoted: Sequence[Facts]) -> Text:
    if not promoted:
        return cell("the hookpoint leads to no unembedding")
    text = cell("")
    for place, one in enumerate(promoted[:NUM_TOKENS]):
        text.append(" " if place else "").append(_token(one["token"]))
    return text


def _token(spelt: str) -> Text:
    """As Python would write it; bytes that are no letter are faint."""
    text, quote = Text(), repr(spelt)[0]
    for place, part in enumerate(BYTES.split(spelt)):
        text.append(part if place % 2 else repr(part)[1:-1], FAINT if place % 2 else "")
    return Text.assemble(quote, text, quote)


def _contexts(one: Facts, count: int) -> Table:
    """The strongest, of one document each."""
    table = Table.grid(padding=(0, 2))
    table.add_column(justify="right", no_wrap=True, style=FAINT, min_width=LEFT)
    table.add_column(no_wrap=True, overflow="ellipsis")
    top: Sequence[Facts] = next((group["contexts"] for group in one["groups"] if group["name"] == TOP), ())
    for context in top[:count]:
        table.add_row(f"{context['max_act']:.3g}", context_text(context))
    return table


def context_text(context: Facts) -> Text:
    """The strongest token in ⟦ ⟧ with what stands around it, the warmer the more the latent fires."""
    at, tokens, acts = context["at"], context["tokens"], context["acts"]
    peak = max(acts[at], 1e-12)
    text = Text(no_wrap=True, overflow="ellipsis")
    first = _within(list(reversed(tokens[:at])), BEFORE)
    last = _within(tokens[at + 1 :], AFTER)
    for place in range(at - first, at + 1 + last):
        shown = tokens[place].replace("\n", "↵")
        if place == at:
            text.append(f"⟦{shown}⟧", STRONG)
        else:
            text.append(shown, WARM if acts[place] >= WARM_SHARE * peak else FAINT)
    return text


def _within(tokens: Sequence[str], letters: int) -> int:
    """How many of the first tokens have no more letters than that together."""
    total = 0
    for number, one in enumerate(tokens):
        total += len(one)
        if total > letters:
            return number
    return len(tokens)
