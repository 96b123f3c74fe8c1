"""The plots of a report: real plotly figures, one colour for each SAE throughout."""

from collections.abc import Callable
from typing import Any

import numpy as np
import plotly.graph_objects as go

from cluster.curves import Curves, Points, summed, thinned
from cluster.plot import LOG, NEUTRAL, Plot, colour, dash_of, empty_figure, loosen
from cluster.run_facts import RunFacts, SaeRow
from cluster.wording import percent, whole

MAX_LABELS = 12
"""More SAEs than this are named only where the pointer is."""


def plots(run: RunFacts) -> list[Plot]:
    """Those that have something to show."""
    drawn = [draw(run) for draw in DRAWN]
    return [plot for plot in drawn if plot is not None]


def _fvu(run: RunFacts) -> Plot | None:
    note = "Fraction of variance unexplained, over a moving window; lower is better."
    return _by_tokens(run, "fvu", "FVU by tokens", note, "FVU", ".4f", **LOG)


def _l0(run: RunFacts) -> Plot | None:
    return _by_tokens(run, "l0", "L0 by tokens", "Latents that are active on a token.", "L0", ".1f")


def _dead(run: RunFacts) -> Plot | None:
    note = "Share of latents that have not fired for as long as the job file allows."
    return _by_tokens(run, "dead_fraction", "Dead latents by tokens", note, "dead", ".2%", tickformat="~%")


def _held_out_fvu(run: RunFacts) -> Plot | None:
    note = "The same on text that no trainer has read, measured at checkpoints."
    return _by_tokens(run, "fvu", "Held-out FVU by tokens", note, "FVU", ".4f", "evaluation", **LOG)


def _increase(run: RunFacts) -> Plot | None:
    note = (
        "How much the model's cross-entropy rises with the reconstruction in place, on text that no trainer has read."
    )
    return _by_tokens(run, "ce_increase", "ΔCE by tokens", note, "nats per token", ".4f", "evaluation")


def _density(run: RunFacts) -> Plot | None:
    """A line of steps for each SAE: latents in each bin of log10 of their density."""
    figure = empty_figure("log10 of the share of held-out tokens on which a latent fires", "share of latents", ".2%")
    for index, sae in enumerate(run.saes):
        if found := (sae.held_out or {}).get("density"):
            latents = max(1, sum(found["counts"]) + found["never"])
            shares = [number / latents for number in found["counts"]]
            line = {"color": colour(index), "width": 1.8, "dash": dash_of(index), "shape": "hv"}
            figure.add_scatter(
                x=found["edges"][:-1],
                y=shares,
                name=sae.name,
                legendgroup=sae.name,
                line=line,
                mode="lines",
                meta=sae.name,
            )
    if not figure.data:
        return None
    figure.update_xaxes(hoverformat=".2f")
    figure.update_yaxes(rangemode="tozero", tickformat="~%")
    return Plot("density", "How often latents fire", "Latents that never fired are in the table, as dead.", figure)


def _by_tokens(
    run: RunFacts,
    name: str,
    title: str,
    note: str,
    axis: str,
    wording: str,
    source: str = "trainer",
    **y_axis: Any,
) -> Plot | None:
    figure = empty_figure("tokens", axis, wording)
    for index, sae in enumerate(run.saes):
        _add_curve(figure, run.curves.along("tokens", f"{source}-{sae.name}", name), sae.name, index)
    if not figure.data:
        return None
    limits = {} if y_axis.get("type") == "log" else {"rangemode": "tozero"}
    figure.update_yaxes(**{**limits, **y_axis}, minor={"showgrid": False})
    of = "" if source == "trainer" else f"{source}-"
    return Plot(f"{of}{name.replace('_', '-')}-by-tokens", title, note, figure)


def _losses(run: RunFacts) -> Plot | None:
    """The whole loss of every SAE; its parts are dotted, and shown on demand."""
    figure = empty_figure("tokens", "loss", ".4g")
    for index, sae in enumerate(run.saes):
        source = f"trainer-{sae.name}"
        for name in [one for one in run.curves.fields(source) if one == "loss" or one.startswith("loss_")]:
            part = name.removeprefix("loss").replace("_", " ").strip()
            _add_curve(figure, run.curves.along("tokens", source, name), sae.name, index, part)
    if not figure.data:
        return None
    figure.update_yaxes(**LOG)
    note = "Each architecture's own loss, so compare within one only. Its parts are dotted."
    return Plot("losses-by-tokens", "Losses by tokens", note, figure)


def _front(run: RunFacts) -> Plot | None:
    note = "Towards the lower left is better. A line joins SAEs of one size."
    plot = _scatter(
        run, "front", "FVU against L0", note, lambda one: one.l0, lambda one: (one.architecture, one.num_latents)
    )
    if plot is not None:
        plot.figure.update_xaxes(title="L0")
    return plot


def _sizes(run: RunFacts) -> Plot | None:
    note = "What more latents buy. A line joins SAEs that differ in nothing else."
    plot = _scatter(
        run,
        "sizes",
        "FVU against number of latents",
        note,
        lambda one: one.num_latents,
        lambda one: (one.architecture, one.k),
    )
    if plot is not None:
        sizes = sorted({one.num_latents for one in run.saes if one.num_latents})
        plot.figure.update_xaxes(title="latents", tickvals=sizes, ticktext=[whole(size) for size in sizes])
    return plot


def _scatter(
    run: RunFacts,
    id: str,
    title: str,
    note: str,
    x: Callable[[SaeRow], float | None],
    family: Callable[[SaeRow], tuple[Any, ...]],
) -> Plot | None:
    figure = empty_figure("", "FVU", ".4f")
    shown = [(index, one) for index, one in enumerate(run.saes) if x(one) and one.fvu]
    for members in _families([one for _, one in shown], family):
        line = sorted(members, key=lambda one: x(one) or 0)
        path = {"x": [x(one) for one in line], "y": [one.fvu for one in line]}
        figure.add_scatter(**path, mode="lines", line={"color": NEUTRAL, "width": 1}, hoverinfo="skip")
    for index, one in shown:
        _add_point(figure, one, x(one), index, labelled=len(shown) <= MAX_LABELS)
    if not shown:
        return None
    figure.update_layout(hovermode="closest")
    figure.update_xaxes(**LOG)
    figure.update_yaxes(**LOG)
    loosen(figure, [x(one) for _, one in shown], [one.fvu for _, one in shown])
    return Plot(id, title, note, figure)


def _families(saes: list[SaeRow], family: Callable[[SaeRow], tuple[Any, ...]]) -> list[list[SaeRow]]:
    """SAEs of one hookpoint that have the same `family`, where there are several."""
    keys = {(one.hookpoint, *family(one)) for one in saes}
    found = [[one for one in saes if (one.hookpoint, *family(one)) == key] for key in sorted(keys, key=str)]
    return [members for members in found if len(members) > 1]


def _add_point(figure: go.Figure, one: SaeRow, x: float | None, index: int, labelled: bool) -> None:
    facts = f"{one.name}<br>{whole(one.num_latents)} latents, L0 {one.l0 or 0:.1f}, {percent(one.dead_fraction)} dead"
    figure.add_scatter(
        x=[x],
        y=[one.fvu],
        name=one.name,
        mode="markers+text" if labelled else "markers",
        text=[one.name],
        textposition="middle right",
        textfont={"size": 11},
        marker={"color": colour(index), "size": 10, "symbol": "circle" if one.path else "circle-open"},
        hovertemplate=f"{facts}<br>FVU %{{y:.4f}}<extra></extra>",
        cliponaxis=False,
    )


def _rates(run: RunFacts) -> Plot | None:
    """All producers and all lanes as one line each; every trainer by itself."""
    figure, curves = empty_figure("", "rows/s", ",.3s"), run.curves
    for prefix, name, dash in (("producer-", "producers, together", "dot"), ("lane-", "lanes, together", "dash")):
        points = summed(curves, curves.sources(prefix), "rows_per_s")
        _add_rate(figure, points, name, {"color": NEUTRAL, "width": 2, "dash": dash}, legend=True)
    for index, sae in enumerate(run.saes):
        points = summed(curves, [f"trainer-{sae.name}"], "rows_per_s")
        _add_rate(figure, points, sae.name, _line(index))
    if not figure.data:
        return None
    figure.update_yaxes(rangemode="tozero", tickformat="~s")
    figure.update_layout(showlegend=True)
    note = "The stream runs as fast as its slowest stage. Time is UTC; a gap is a pause."
    return Plot("rows-per-s", "Rows per second by stage", note, figure)


def _lags(run: RunFacts) -> Plot | None:
    """What each trainer had still to read of what lanes had emitted by then."""
    figure, curves = empty_figure("", "rows behind", ",.3s"), run.curves
    emitted = summed(curves, curves.sources("lane-"), "emitted")
    for index, sae in enumerate(run.saes):
        _add_rate(figure, _behind(curves, emitted, f"trainer-{sae.name}"), sae.name, _line(index))
    if not figure.data:
        return None
    figure.update_yaxes(rangemode="tozero", tickformat="~s")
    block_rows = run.job.stream.block_rows
    note = f"Rows that lanes have emitted and a trainer has not read, over time; {whole(block_rows)} are one block."
    return Plot("lags", "Lag of each trainer", note, figure)


def _behind(curves: Curves, emitted: Points | None, source: str) -> Points | None:
    """Against time in ms; nan where the lanes were silent."""
    read = curves.series.get((source, "tokens"))
    if emitted is None or read is None:
        return None
    return read[0], np.maximum(0, np.interp(read[0], *emitted) - read[1])


def _line(index: int) -> dict[str, Any]:
    return {"color": colour(index), "width": 1.6, "dash": dash_of(index)}


def _add_rate(figure: go.Figure, points: Points | None, name: str, line: dict[str, Any], legend: bool = False) -> None:
    if points is not None:
        times = points[0].astype("int64").astype("datetime64[ms]")
        figure.add_scatter(x=times, y=points[1], name=name, mode="lines", line=line, showlegend=legend)


def _contexts(run: RunFacts) -> Plot | None:
    figure, lanes = empty_figure("rows that the lane has emitted", "contexts", ",.0f"), run.curves.sources("lane-")
    for index, lane in enumerate(lanes):
        points = _positive(run.curves.along("emitted", lane, "block_contexts"))
        _add_curve(figure, points, lane, index)
    if not figure.data:
        return None
    figure.update_layout(showlegend=len(lanes) > 1)
    figure.update_yaxes(rangemode="tozero", tickformat="~s")
    block_rows = run.job.stream.block_rows
    note = f"How well the stream is mixed: {whole(block_rows)} would be another context for every row of a block."
    return Plot("block-contexts", "Distinct contexts in a block", note, figure)


def _positive(points: Points | None) -> Points | None:
    """Without what a lane reports before its first block."""
    if points is None or not (points[1] > 0).any():
        return None
    return points[0][points[1] > 0], points[1][points[1] > 0]


def _add_curve(figure: go.Figure, points: Points | None, name: str, index: int, part: str = "") -> None:
    if points is None:
        return
    x, y = thinned(points)
    line = {"color": colour(index), "width": 1 if part else 1.8, "dash": "dot" if part else dash_of(index)}
    label = f"{name} {part}".strip()
    single = {"mode": "lines" if len(x) > 1 else "markers", "opacity": 0.7 if part else 1.0}
    figure.add_scatter(x=x, y=y, name=label, legendgroup=name, line=line, **single, meta=name)


DRAWN: tuple[Callable[[RunFacts], Plot | None], ...] = (
    _fvu,
    _held_out_fvu,
    _increase,
    _l0,
    _dead,
    _density,
    _losses,
    _front,
    _sizes,
    _rates,
    _lags,
    _contexts,
)
"""In the order of the page."""
