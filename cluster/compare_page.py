"""The page of a comparison: fronts, plots, matched latents and scaling laws, site by site."""

from datetime import UTC, datetime

from cluster.compare_plots import site_plots
from cluster.compare_wording import FRONT, alone, held_out_largest, interval, law_subject, mcc, measured_on
from cluster.comparison import Comparison, SiteComparison
from cluster.html import Html, element, table
from cluster.page import document, figures, plotly
from cluster.suite_laws import SuiteLaw
from cluster.suite_matches import PairFacts
from cluster.wording import NONE, count, decimals, percent, plural, whole

LAW_NOTE = (
    "n latents, k L0, D tokens, C FLOPs of the SAE's own training, L FVU. Held out: median deviation of an SAE that is "
    "foretold from all others. Largest: that of the largest, foretold from the smaller ones."
)
SPLITS_OF_A_PAIR = 3
"""That are shown."""


def compare_page(comparison: Comparison) -> str:
    """The whole document."""
    names = ", ".join(run.resolve().name for run in comparison.suite.runs)
    sections = [plotly()]
    for number, one in enumerate(comparison.sites):
        prefix = f"{one.site}: " if len(comparison.sites) > 1 else ""
        sections += [_saes(one, prefix), _plots(one, prefix, number), *_matches(one, prefix), _laws(one, prefix)]
    return document(f"{names}: comparison", _header(comparison, names), *sections, _footer(comparison))


def _header(comparison: Comparison, names: str) -> Html:
    saes = plural(len(comparison.suite.saes), "SAE")
    lead = f"{saes} side by side · {', '.join(str(one.site) for one in comparison.sites)}"
    parts = [element("h1", names), element("p", lead, class_="lead")]
    if comparison.notes:
        parts.append(element("div", *(element("p", one) for one in comparison.notes), class_="missing"))
    return element("header", *parts)


def _saes(one: SiteComparison, prefix: str) -> Html:
    ce = ["ΔCE"] if one.has_ce else []
    head = ["SAE", "architecture", "sparsity", "latents", "tokens", "L0", "FVU", *ce, "dead", "measured on"]
    rows = [
        [
            sae.name,
            sae.architecture,
            sae.sparsity or NONE,
            whole(sae.num_latents),
            count(sae.tokens),
            decimals(sae.l0, 1),
            _marked(decimals(sae.fvu, 4), fvu_front),
            *([_marked(decimals(sae.ce_delta, 4), ce_front)] if one.has_ce else []),
            percent(sae.dead_fraction),
            measured_on(sae),
        ]
        for sae, fvu_front, ce_front in zip(one.saes, one.fvu_front, one.ce_front, strict=True)
    ]
    what = "a lower FVU or ΔCE" if one.has_ce else "a lower FVU"
    note = f"● is on the Pareto front: no SAE that is as sparse has {what}. Dead latents are as training counted them."
    shown = table(head, rows, words=(0, 1, 2, len(head) - 1))
    return element(
        "section", element("h2", f"{prefix}SAEs by size and sparsity"), shown, element("p", note, class_="note")
    )


def _marked(number: str, is_on_front: bool) -> str:
    return Html(element("span", FRONT, class_="front") + element("span", number)) if is_on_front else number


def _plots(one: SiteComparison, prefix: str, number: int) -> Html:
    return element("section", element("h2", f"{prefix}Curves"), figures(site_plots(one, number)))


def _matches(one: SiteComparison, prefix: str) -> list[Html]:
    if not one.pairs:
        return []
    head = ["narrower", "wider", "MMCS →", "MMCS ←", "MCC", "split", "alone in narrower", "alone in wider"]
    rows = [_match_row(pair) for pair in one.pairs]
    same, chances = (
        one.pairs[0].same,
        [side.chance for pair in one.pairs for side in (pair.from_first, pair.from_second)],
    )
    note = (
        "MMCS →: mean over the narrower SAE's latents of the greatest cosine with one of the wider's; ←: the other "
        f"way; random directions would have {min(chances):.2f} to {max(chances):.2f}. MCC: mean cosine of one-to-one "
        f"pairs. Split: latents that several of the wider have as their nearest at {same:g} or more. "
        f"Alone: nothing in the other reaches {same:g}."
    )
    if not all(pair.is_exact for pair in one.pairs):
        note += (
            " ≥: the pairs are mutual nearest latents; the best pairs of so many cannot be had, and have at least this."
        )
    parts = [
        element("h2", f"{prefix}Matched latents"),
        table(head, rows, words=(0, 1)),
        element("p", note, class_="note"),
    ]
    return [element("section", *parts, *_most_split(one.pairs))]


def _match_row(pair: PairFacts) -> list[str]:
    return [
        pair.first,
        pair.second,
        decimals(pair.from_first.mmcs, 3),
        decimals(pair.from_second.mmcs, 3),
        mcc(pair),
        whole(pair.num_splits),
        alone(pair.from_first),
        alone(pair.from_second),
    ]


def _most_split(pairs: list[PairFacts]) -> list[Html]:
    rows = [
        [pair.first, whole(split.latent), pair.second, _children(split.children, split.cosines)]
        for pair in pairs
        for split in pair.most_split[:SPLITS_OF_A_PAIR]
    ]
    if not rows:
        return []
    shown = table(["SAE", "latent", "in", "became (cosine)"], rows, words=(0, 2, 3))
    return [element("details", element("summary", "Latents that split most"), shown)]


def _children(children: list[int], cosines: list[float]) -> str:
    shown = [f"{child} ({cosine:.2f})" for child, cosine in zip(children[:8], cosines, strict=False)]
    return ", ".join(shown) + (f" and {len(children) - 8} more" if len(children) > 8 else "")


def _laws(one: SiteComparison, prefix: str) -> Html:
    parts = [element("h2", f"{prefix}Scaling laws")]
    if one.laws.fitted:
        head = ["law", "of", "SAEs", "constants, with 90% intervals", "held out", "largest"]
        parts += [table(head, _law_rows(one.laws.fitted), words=(0, 1, 3)), element("p", LAW_NOTE, class_="note")]
        forms = {law.fit.form.name: law.fit.form for law in one.laws.fitted}.values()
        meanings = [element("li", element("code", form.formula), f" ({form.name}: {form.source})") for form in forms]
        parts.append(element("ul", *meanings))
    parts += [element("p", reason) for reason in one.laws.refused]
    return element("section", *parts)


def _law_rows(laws: list[SuiteLaw]) -> list[list[str]]:
    return [
        [
            law.fit.form.name,
            law_subject(law),
            whole(len(law.saes)),
            ", ".join(f"{name} {interval(one)}" for name, one in law.fit.constants.items()),
            percent(law.fit.held_out.median),
            held_out_largest(law),
        ]
        for law in laws
    ]


def _footer(comparison: Comparison) -> Html:
    written = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S")
    runs = ", ".join(str(run.resolve()) for run in comparison.suite.runs)
    return element("footer", f"Written {written} UTC from {runs}.")
