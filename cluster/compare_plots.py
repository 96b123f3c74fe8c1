"""The plots of a comparison, one set for each site. A colour is a size, or a sparsity where size is the axis."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np
import plotly.graph_objects as go

from cluster.comparison import SiteComparison
from cluster.plot import LOG, NEUTRAL, Plot, colour, empty_figure
from cluster.suite import SuiteSae
from cluster.suite_laws import SuiteLaw, compute_of
from cluster.suite_matches import BINS, PairFacts
from cluster.wording import count, percent, whole
from trainers.law_fit import LawFit
from trainers.scaling_law import Floats, Variable

SYMBOLS = ("circle", "diamond", "square", "triangle-up", "cross", "x", "star")
"""Of architectures."""
CURVE_POINTS = 60
BEYOND = 4.0
"""Curves of a law go on, dotted, so many times beyond the SAEs that it was fitted to."""
MOST_BANDS = 4
"""With more curves than this their intervals are left out."""
MOST_LINES = 4
MOST_TICKS = 6
MOST_CELLS = 24
"""SAEs in the table of mean greatest cosines."""
SHADES = [[0.0, "rgba(59,120,196,0.04)"], [1.0, "rgba(59,120,196,0.7)"]]
"""Text in the page's colour can be read on all of them, in light and in dark."""

Value = Callable[[SuiteSae], float | None]


@dataclass(frozen=True)
class Group:
    """SAEs of one colour."""

    label: str
    saes: list[SuiteSae]
    colour: str
    law: LawFit | None = None
    """Drawn through them."""
    is_named: bool = True
    """In the legend."""


def site_plots(one: SiteComparison, number: int) -> list[Plot]:
    """Those that have something to show; `number` tells the sites of a page apart."""
    drawn = [
        _fvu_front(one),
        _ce_front(one),
        _by_latents(one),
        _by_tokens(one),
        _by_compute(one),
        _mmcs(one),
        _cosines(one.pairs),
    ]
    return [Plot(f"site-{number}-{plot.id}", plot.title, plot.note, plot.figure) for plot in drawn if plot is not None]


def _fvu_front(one: SiteComparison) -> Plot:
    note = "Towards the lower left is better. The dotted line joins what nothing sparser beats: the Pareto front."
    figure = _front(one, lambda sae: sae.fvu, one.fvu_front, "FVU")
    figure.update_yaxes(**LOG)
    return Plot("front", "FVU against L0", note, figure)


def _ce_front(one: SiteComparison) -> Plot | None:
    if not one.has_ce:
        return None
    note = "Rise of the model's cross-entropy with the reconstruction in place, nats per token, on held-out text."
    figure = _front(one, lambda sae: sae.ce_delta, one.ce_front, "ΔCE")
    if all(sae.ce_delta > 0 for sae in one.saes if sae.ce_delta is not None):
        figure.update_yaxes(**LOG)
    return Plot("ce-front", "ΔCE against L0", note, figure)


def _front(one: SiteComparison, value: Value, front: Sequence[bool], title: str) -> go.Figure:
    """SAEs by L0, those on the front filled."""
    figure = empty_figure("L0", title, ".4f")
    best = {sae for sae, is_on_front in zip(one.saes, front, strict=True) if is_on_front}
    line = sorted(best, key=lambda sae: sae.l0)
    path = {"x": [sae.l0 for sae in line], "y": [value(sae) for sae in line]}
    style = {"color": NEUTRAL, "width": 1.2, "dash": "dot"}
    figure.add_scatter(**path, mode="lines", line=style, hoverinfo="skip", showlegend=False)
    for group in _grouped(one.saes, lambda sae: sae.num_latents, _latents):
        _add_points(figure, group, lambda sae: sae.l0, value, one, best)
    figure.update_layout(hovermode="closest", showlegend=True)
    figure.update_xaxes(**LOG)
    return figure


def _by_latents(one: SiteComparison) -> Plot | None:
    """Of SAEs that read the most tokens."""
    most = max(sae.tokens for sae in one.saes)
    longest = [sae for sae in one.saes if sae.tokens == most]
    if len({sae.num_latents for sae in longest}) < 2:
        return None
    groups = _with_laws(one, _grouped(longest, _family, lambda sae: _family_label(one, sae)), ("latents", "joint"))
    note = f"SAEs that read {count(most)} tokens, and the fitted law; dotted where it goes beyond what was measured."
    figure = _by_law(one, groups, "latents", lambda sae: sae.num_latents, "latents")
    sizes = sorted({sae.num_latents for sae in longest})
    figure.update_xaxes(tickvals=sizes, ticktext=[whole(size) for size in sizes])
    return Plot("latents", "FVU against number of latents", note, figure)


def _by_tokens(one: SiteComparison) -> Plot | None:
    """A colour is a size here, too; each sparsity has a curve of its own."""
    if len({sae.tokens for sae in one.saes}) < 2:
        return None
    groups = []
    for size in _grouped(one.saes, lambda sae: sae.num_latents, _latents):
        parts = _with_laws(
            one, _grouped(size.saes, _family, lambda sae: _family_label(one, sae)), ("tokens", "joint-tokens")
        )
        groups += [replace(part, label=size.label, colour=size.colour, is_named=part is parts[0]) for part in parts]
    note = "What training for longer buys at each sparsity, and the fitted law; dotted beyond what was measured."
    return Plot("tokens", "FVU against tokens", note, _by_law(one, groups, "tokens", lambda sae: sae.tokens, "tokens"))


def _by_compute(one: SiteComparison) -> Plot | None:
    """Only with a law: without one it repeats what other plots show."""
    groups = _with_laws(one, _grouped(one.saes, _family, lambda sae: _family_label(one, sae)), ("compute",))
    if not any(group.law for group in groups):
        return None
    note = "FLOPs of the SAEs' own training. The law is fitted to those that nothing cheaper beats."
    return Plot("compute", "FVU against compute", note, _by_law(one, groups, "FLOPs", compute_of, "compute"))


def _by_law(one: SiteComparison, groups: list[Group], x_title: str, x: Value, variable: Variable) -> go.Figure:
    figure = empty_figure(x_title, "FVU", ".4f")
    has_bands = sum(group.law is not None for group in groups) <= MOST_BANDS
    for group in groups:
        if group.law is not None:
            _add_law(figure, group, group.law, variable, has_bands)
    for group in groups:
        _add_points(figure, group, x, lambda sae: sae.fvu, one, None)
    figure.update_layout(hovermode="closest", showlegend=len(groups) > 1)
    ticks = _ticks([value for sae in one.saes if (value := x(sae))])
    figure.update_xaxes(**LOG, tickvals=ticks, ticktext=[_tick(value, variable) for value in ticks])
    figure.update_yaxes(**LOG)
    return figure


def _ticks(values: list[float]) -> list[float]:
    """Round numbers about `values`, as far as their laws go; plotly's own overlap where there is less than a decade."""
    low, high = min(values) / 1.5, max(values) * BEYOND
    rounds = [step * 10.0**power for power in range(-2, 40) for step in (1, 2, 5)]
    fine = [number for number in rounds if low <= number <= high]
    return fine if len(fine) <= MOST_TICKS else [number for number in fine if f"{number:e}".startswith("1")]


def _tick(value: float, variable: Variable) -> str:
    """`500k` tokens, `5e11` FLOPs."""
    return f"{value:.0e}".replace("e+", "e") if variable == "compute" else count(value)


def _add_law(figure: go.Figure, group: Group, law: LawFit, variable: Variable, has_band: bool) -> None:
    low, high = law.points.of(variable).min(), law.points.of(variable).max()
    xs = np.unique(np.append(np.geomspace(low, high * BEYOND, CURVE_POINTS), high))
    found = law.foretell(_held_fixed(group.saes, variable, xs))
    if has_band:
        band = {"x": [*xs, *xs[::-1]], "y": [*(one.low for one in found), *(one.high for one in reversed(found))]}
        style = {"fill": "toself", "fillcolor": group.colour, "opacity": 0.12, "line": {"width": 0}}
        figure.add_scatter(**band, **style, mode="lines", hoverinfo="skip", showlegend=False, legendgroup=group.label)
    for part, dash in ((xs <= high, "solid"), (xs >= high, "dot")):
        curve = {"x": xs[part], "y": [one.value for one, is_in in zip(found, part, strict=True) if is_in]}
        style = {"color": group.colour, "width": 1.4, "dash": dash}
        figure.add_scatter(
            **curve, mode="lines", line=style, hoverinfo="skip", showlegend=False, legendgroup=group.label
        )


def _held_fixed(saes: list[SuiteSae], variable: Variable, xs: Floats) -> dict[Variable, Floats]:
    """`variable` at `xs`, all else as in `saes` on average."""
    means = {
        "latents": np.mean([one.num_latents for one in saes]),
        "active": np.mean([one.l0 for one in saes]),
        "tokens": np.mean([one.tokens for one in saes]),
        "compute": np.mean([compute_of(one) for one in saes]),
    }
    at: dict[Variable, Floats] = {name: np.full_like(xs, mean) for name, mean in means.items()}  # type: ignore[misc]
    return {**at, variable: xs}


def _mmcs(one: SiteComparison) -> Plot | None:
    """A row's latents, each with its nearest in the column."""
    known = {name for pair in one.pairs for name in (pair.first, pair.second)}
    saes = sorted((sae for sae in one.saes if sae.name in known), key=lambda sae: (*_family(sae), sae.num_latents))
    names = [sae.name for sae in saes]
    if not 2 <= len(names) <= MOST_CELLS:
        return None
    z = np.full((len(names), len(names)), np.nan)
    for pair in one.pairs:
        row, column = names.index(pair.first), names.index(pair.second)
        z[row, column], z[column, row] = pair.from_first.mmcs, pair.from_second.mmcs
    figure = empty_figure("in", "latents of", ".3f")
    labels = "%{z:.2f}" if len(names) <= MOST_CELLS // 2 else ""
    hover = "%{y} in %{x}: %{z:.3f}<extra></extra>"
    cells = {"texttemplate": labels, "hovertemplate": hover, "hoverongaps": False, "xgap": 1, "ygap": 1}
    figure.add_heatmap(z=z, x=names, y=names, zmin=0, zmax=1, colorscale=SHADES, showscale=False, **cells)
    figure.update_layout(hovermode="closest")
    figure.update_yaxes(autorange="reversed", showgrid=False, hoverformat=None)
    figure.update_xaxes(showline=False, hoverformat=None)
    note = "Mean over a row's latents of the greatest cosine with one of the column's (MMCS)."
    return Plot("mmcs", "How much of one SAE is in another", note, figure)


def _cosines(pairs: list[PairFacts]) -> Plot | None:
    if not pairs:
        return None
    figure, shown = empty_figure("cosine with the nearest", "share of latents", ".1%"), pairs[:MOST_LINES]
    for index, pair in enumerate(shown):
        for side, dash, label in (
            (pair.from_first, "solid", f"{pair.first} in {pair.second}"),
            (pair.from_second, "dot", f"{pair.second} in {pair.first}"),
        ):
            above = np.append(np.cumsum(side.histogram[::-1])[::-1], 0) / sum(side.histogram)
            style = {"color": colour(index), "width": 1.6, "dash": dash}
            figure.add_scatter(x=BINS, y=above, name=label, mode="lines", line=style, showlegend=dash == "solid")
    figure.add_vline(x=pairs[0].same, line={"color": NEUTRAL, "width": 1, "dash": "dash"})
    figure.update_layout(hovermode="closest", showlegend=True)
    figure.update_xaxes(range=[0, 1], hoverformat=".2f")
    figure.update_yaxes(range=[0, 1.02], tickformat=".0%")
    left = "" if len(shown) == len(pairs) else f" The first {len(shown)} of {len(pairs)} pairs."
    note = (
        f"Share of latents whose nearest is at least so near; dotted: the other way. Dashed: what counts as one.{left}"
    )
    return Plot("cosines", "How near the nearest latents are", note, figure)


def _add_points(
    figure: go.Figure, group: Group, x: Value, y: Value, one: SiteComparison, best: set[SuiteSae] | None
) -> None:
    """A marker for each SAE that has both values; where `best` is given the others are open, and a line joins them."""
    architectures = sorted({sae.architecture for sae in one.saes})
    known = [sae for sae in group.saes if x(sae) is not None and y(sae) is not None]
    is_joined = best is not None and len({(sae.architecture, sae.tokens) for sae in known}) == 1
    symbols = [SYMBOLS[architectures.index(sae.architecture) % len(SYMBOLS)] for sae in known]
    if best is not None:
        symbols = [name if sae in best else f"{name}-open" for name, sae in zip(symbols, known, strict=True)]
    figure.add_scatter(
        x=[x(sae) for sae in known],
        y=[y(sae) for sae in known],
        name=group.label,
        legendgroup=group.label,
        showlegend=group.is_named,
        mode="lines+markers" if is_joined else "markers",
        line={"color": group.colour, "width": 0.8},
        marker={"color": group.colour, "size": 9, "symbol": symbols, "line": {"width": 1.6, "color": group.colour}},
        text=[_hover(sae) for sae in known],
        hovertemplate="%{text}<extra></extra>",
        cliponaxis=False,
    )


def _hover(sae: SuiteSae) -> str:
    lines = [sae.name, f"{whole(sae.num_latents)} latents, L0 {sae.l0:.1f}, {count(sae.tokens)} tokens"]
    quality = f"FVU {sae.fvu:.4f}" + (f", ΔCE {sae.ce_delta:.4f}" if sae.ce_delta is not None else "")
    return "<br>".join([*lines, f"{quality}, {percent(sae.dead_fraction)} dead"])


def _grouped(
    saes: Sequence[SuiteSae], key: Callable[[SuiteSae], object], label: Callable[[SuiteSae], str]
) -> list[Group]:
    ordered = sorted(saes, key=key)  # type: ignore[arg-type]
    groups = [list(members) for _, members in groupby(ordered, key)]
    return [Group(label(group[0]), group, colour(index)) for index, group in enumerate(groups)]


def _with_laws(one: SiteComparison, groups: list[Group], names: tuple[str, ...]) -> list[Group]:
    return [replace(group, law=_law_of(one.laws.fitted, group.saes, names)) for group in groups]


def _law_of(laws: list[SuiteLaw], saes: list[SuiteSae], names: tuple[str, ...]) -> LawFit | None:
    """The first of `names` that was fitted to some of `saes`."""
    found = (
        law.fit for name in names for law in laws if law.fit.form.name == name and not set(saes).isdisjoint(law.saes)
    )
    return next(found, None)


def _family(sae: SuiteSae) -> tuple[str, float, str]:
    """What a law by size holds fixed; sparsities in order of what they come to."""
    return (sae.architecture, round(sae.l0, 1) if sae.sparsity.startswith("k=") else 0.0, sae.sparsity)


def _family_label(one: SiteComparison, sae: SuiteSae) -> str:
    """`k=32`; with the architecture where there are several."""
    several = len({other.architecture for other in one.saes}) > 1
    return " ".join(part for part in (sae.architecture if several else "", sae.sparsity) if part) or sae.architecture


def _latents(sae: SuiteSae) -> str:
    return f"{whole(sae.num_latents)} latents"
