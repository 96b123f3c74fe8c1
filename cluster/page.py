"""An HTML file that needs nothing but itself: style and scripts are inside, and it may load nothing from anywhere."""

from importlib import resources

from cluster.html import Html, element
from cluster.plot import Plot, plot_html, plotly_script

POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"


def document(title: str, *sections: str) -> str:
    """The whole page."""
    head = (
        Html('<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'),
        Html(f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'),
        element("title", f"{title} — Headrace"),
        element("style", Html(_asset("report.css"))),
    )
    script = element("script", Html(_asset("report.js")))
    return "<!doctype html>\n" + element("html", element("head", *head), element("body", *sections, script), lang="en")


def plotly() -> Html:
    """plotly.js (4.8 MB), to stand once in a page that has figures, before the first."""
    return element("script", Html(plotly_script()))


def figures(plots: list[Plot]) -> Html:
    """Plots side by side, each under its title and what there is to say of it."""
    drawn = [
        element("figure", element("h3", one.title), element("p", one.note, class_="note"), plot_html(one))
        for one in plots
    ]
    return element("div", *drawn, class_="plots")


def _asset(name: str) -> str:
    return resources.files("cluster").joinpath(name).read_text(encoding="utf-8")
