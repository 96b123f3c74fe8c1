"""How every plot of a page looks: one style, one set of colours, plotly.js inside the page."""

from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
import plotly.io as pio
from plotly.offline import get_plotlyjs

from cluster.html import Html

COLOURS = (
    "#3b78c4",
    "#d9822b",
    "#2e9c74",
    "#c44e5b",
    "#8a63c0",
    "#a3892c",
    "#d0679d",
    "#3ba3b8",
    "#7a8793",
    "#77a03a",
    "#b0653c",
    "#5b6ee0",
)
DASHES = ("solid", "dash", "dot", "dashdot")
"""Past the last colour the first comes again, dashed."""
NEUTRAL = "#8a8f98"
PLOT_HEIGHT = 340
LOG = {"type": "log", "tickformat": ",.4~g"}
"""A format of our own: by itself plotly.js 4.1 labels 1 as `1,000` on an axis that reaches from 0.4 to 100."""
CONFIG = {
    "displaylogo": False,
    "responsive": True,
    "plotlyServerURL": "",
    "modeBarButtonsToRemove": ["sendChartToCloud", "select2d", "lasso2d", "autoScale2d"],
}
"""Nothing that would send a chart away."""


@dataclass(frozen=True)
class Plot:
    """One figure and what stands around it."""

    id: str
    title: str
    note: str
    figure: go.Figure


def colour(index: int) -> str:
    return COLOURS[index % len(COLOURS)]


def plotly_script() -> str:
    """plotly.js itself, to stand in the page once."""
    return str(get_plotlyjs())


def plot_html(plot: Plot) -> Html:
    """The figure's div and script; plotly.js must be in the page before."""
    return Html(
        pio.to_html(
            plot.figure,
            config=CONFIG,
            include_plotlyjs=False,
            full_html=False,
            div_id=plot.id,
            default_height=f"{PLOT_HEIGHT}px",
        )
    )


def empty_figure(x_title: str, y_title: str, wording: str) -> go.Figure:
    """An empty figure; the page's style sheet gives text and lines their colours."""
    figure = go.Figure()
    figure.update_layout(
        template="none",
        height=PLOT_HEIGHT,
        margin={"l": 64, "r": 16, "t": 8, "b": 48},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": "system-ui, -apple-system, 'Segoe UI', sans-serif", "size": 12},
        hovermode="x unified",
        hoverlabel={"namelength": -1},
        showlegend=False,
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
    )
    axis = {"zeroline": False, "gridwidth": 1, "ticks": "", "title": {"standoff": 10}, "automargin": True}
    figure.update_xaxes(**axis, showgrid=False, showline=True, spikethickness=1, spikedash="solid")
    figure.update_yaxes(**axis, hoverformat=wording)
    figure.update_xaxes(title=x_title, hoverformat=".3~s" if x_title else None)
    figure.update_yaxes(title=y_title)
    return figure


def loosen(figure: go.Figure, xs: list[float | None], ys: list[float | None]) -> None:
    """Room around points on two logarithmic axes, most of it to the right, where names stand."""
    for axis, values, before, after in ((figure.update_xaxes, xs, 0.10, 0.55), (figure.update_yaxes, ys, 0.12, 0.12)):
        logs = np.log10([value for value in values if value])
        width = max(float(logs.max() - logs.min()), 0.2)
        axis(range=[logs.min() - before * width, logs.max() + after * width])


def dash_of(index: int) -> str:
    return DASHES[index // len(COLOURS) % len(DASHES)]
