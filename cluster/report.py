"""One HTML file that tells a run: what was trained, how well, how fast, and whether every row is accounted for.

It needs nothing but itself (`cluster.page`).
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cluster.html import Html, element, table
from cluster.page import document, figures, plotly
from cluster.plot import colour
from cluster.report_held_out import held_out_section
from cluster.report_plots import plots
from cluster.run_facts import RunFacts, SaeRow, read_run
from cluster.wording import NONE, count, decimals, duration, percent, plural, whole
from shared.files import write_atomically

REPORT = "report.html"
NEWEST_EVENTS = 40
"""Events that are shown at once; the others unfold."""


def write_report(run_folder: Path) -> Path:
    """Writes `report.html` into a run folder, of a run that is finished or not.

    Raises:
        UserError: it is not a run folder.
    """
    path = run_folder / REPORT
    write_atomically(path, page(read_run(run_folder)).encode())
    return path


def page(run: RunFacts) -> str:
    """The whole document."""
    return document(
        run.job.name,
        _header(run),
        _sae_section(run),
        held_out_section(run.saes, [_sae_name(one, index) for index, one in enumerate(run.saes)]) or Html(),
        _plot_section(run),
        _ledger_section(run),
        _event_section(run),
        _footer(run),
    )


def _header(run: RunFacts) -> Html:
    parts = [element("h1", run.job.name), element("p", _lead(run), class_="lead")]
    if run.missing:
        parts.append(element("div", *(element("p", one) for one in run.missing), class_="missing"))
    facts = [element("div", element("dt", name), element("dd", value)) for name, value in _facts(run).items() if value]
    return element("header", *parts, element("dl", *facts))


def _lead(run: RunFacts) -> str:
    done = sum(one.path is not None for one in run.saes)
    tokens = min((one.tokens for one in run.saes), default=0)
    state = "all finished" if done == len(run.saes) else f"{done} finished" if done else "in training"
    share = percent(min(1.0, tokens / run.job.tokens))
    return f"{len(run.saes)} SAEs, {state} · {whole(tokens)} of {whole(run.job.tokens)} tokens ({share})"


def _facts(run: RunFacts) -> dict[str, str]:
    job, source, span = run.job, run.job.corpus.source, run.curves.span_ms
    stream = f"{count(job.stream.buffer_rows)} rows mixed in each lane, blocks of {whole(job.stream.block_rows)}"
    return {
        "Model": job.model.name + (f" at {job.model.revision}" if job.model.revision else ""),
        "Hookpoints": ", ".join(job.model.hookpoints),
        "Corpus": source if isinstance(source, str) else ", ".join(source),
        "Context": f"{whole(job.corpus.context_tokens)} tokens",
        "Producers and lanes": f"{job.producers.count} and {job.stream.lanes}",
        "Stream": stream,
        "Seed": str(job.seed),
        "Begun": f"{_moment(span[0])} UTC" if span else "",
        "Last measured": f"{_moment(span[1])} UTC, {duration((span[1] - span[0]) / 1000)} later" if span else "",
        "Software": run.software,
    }


def _sae_section(run: RunFacts) -> Html:
    several = len({one.hookpoint for one in run.saes if one.hookpoint}) > 1
    places = ["hookpoint"] if several else []
    head = ["SAE", "architecture", *places, "latents", "k", "tokens", "FVU", "L0", "dead", "tokens/s", "folder"]
    words = (0, 1, 2, 10) if several else (0, 1, 9)
    best = min((one.fvu for one in run.saes if one.fvu is not None), default=None)
    rows = [_sae_row(one, index, one.fvu == best and len(run.saes) > 1, several) for index, one in enumerate(run.saes)]
    note = "FVU, L0 and dead latents are over the last twentieth of the tokens. The lowest FVU is bold."
    return element("section", element("h2", "SAEs"), table(head, rows, words=words), element("p", note, class_="note"))


def _sae_row(one: SaeRow, index: int, best: bool, with_hookpoint: bool) -> list[str]:
    fvu = decimals(one.fvu, 4)
    return [
        _sae_name(one, index),
        one.architecture or NONE,
        *([one.hookpoint or NONE] if with_hookpoint else []),
        whole(one.num_latents),
        whole(one.k),
        count(one.tokens),
        element("span", fvu, class_="best") if best else fvu,
        decimals(one.l0, 1),
        percent(one.dead_fraction),
        count(one.tokens_per_s),
        element("code", one.path) if one.path else "in training",
    ]


def _sae_name(one: SaeRow, index: int) -> Html:
    return Html(_swatch(index) + element("span", one.name))


def _swatch(index: int) -> Html:
    return element("span", class_="swatch", style=f"background:{colour(index)}")


def _plot_section(run: RunFacts) -> Html:
    drawn = plots(run)
    if not drawn:
        return element("section", element("h2", "Curves"), element("p", "There is nothing to draw yet."))
    keys = [
        element(
            "button",
            Html(_swatch(index) + element("span", one.name)),
            type="button",
            value=one.name,
            aria_pressed="true",
        )
        for index, one in enumerate(run.saes)
    ]
    legend = element("div", *keys, class_="keys", role="group", aria_label="SAEs to show")
    return element("section", element("h2", "Curves"), plotly(), legend, figures(drawn))


def _ledger_section(run: RunFacts) -> Html:
    parts = [element("h2", "Ledger")]
    try:
        parts += _ledger(run.ledger) if run.ledger else [element("p", "There is no ledger yet.")]
    except (KeyError, TypeError, AttributeError):
        parts.append(element("p", "ledger.json does not hold a ledger.", class_="bad"))
    return element("section", *parts)


def _ledger(ledger: dict[str, Any]) -> list[Html]:
    imbalances = ledger["imbalances"]
    if imbalances:
        verdict = [element("p", "The ledger does not balance.", class_="bad")]
        verdict.append(element("ul", *(element("li", str(one)) for one in imbalances)))
    else:
        verdict = [element("p", element("span", "The ledger balances.", class_="good"), _meaning(ledger))]
    return [*verdict, _lane_table(ledger), _trainer_table(ledger)]


def _meaning(ledger: dict[str, Any]) -> str:
    gap = sum(one["gap"] for one in ledger["trainers"])
    read = "has read each row once" if not gap else "has read each row once, but for those that it passed over"
    apart = ledger.get("held_out_contexts")
    kept = f" About {plural(apart, 'context')} of the corpus were held out: no trainer has read them." if apart else ""
    return f" Every row that producers pushed is in exactly one place, and every trainer {read}.{kept}"


def _lane_table(ledger: dict[str, Any]) -> Html:
    names = ("pushed", "staged", "resident", "emitted", "surplus")
    lanes = [{"leased": one["announced"], **one["counters"]} for one in ledger["lanes"]]
    rows = [[f"lane-{number}", *_balance(one, names)] for number, one in enumerate(lanes)]
    head = ["rows", "leased", "≥ pushed", "= staged", "+ resident", "+ emitted", "+ surplus"]
    return table(head, rows, foot=["all lanes", *_balance(ledger, names)])


def _balance(entry: dict[str, Any], names: tuple[str, ...]) -> list[str]:
    return [whole(entry["leased"]), *(whole(entry[name]) for name in names)]


def _trainer_table(ledger: dict[str, Any]) -> Html:
    names = ("read", "gap", "below_cursor", "cursor", "lag_blocks", "lag_rows")
    rows = [[one["name"], *(whole(one[name]) for name in names)] for one in ledger["trainers"]]
    head = ["trainer", "read", "+ passed over", "= in its blocks", "blocks read", "blocks to read", "rows to read"]
    return table(head, rows)


def _event_section(run: RunFacts) -> Html:
    head = element("h2", "Events")
    if not run.events:
        return element("section", head, element("p", "Nothing was recorded."))
    newest, older = run.events[-NEWEST_EVENTS:], run.events[:-NEWEST_EVENTS]
    parts = [head, _event_table(newest)]
    if older:
        parts.append(element("details", element("summary", f"{len(older)} earlier"), _event_table(older)))
    return element("section", *parts, class_="events")


def _event_table(events: list[dict[str, Any]]) -> Html:
    rows = [
        [_moment(one.get("time_ms", 0)), element("code", str(one.get("kind", ""))), str(one.get("message", ""))]
        for one in events
        if isinstance(one, dict)
    ]
    return table(["time (UTC)", "kind", "what happened"], rows, words=(0, 1, 2))


def _footer(run: RunFacts) -> Html:
    written = _moment(datetime.now(UTC).timestamp() * 1000)
    return element("footer", f"Written {written} UTC from {run.folder.resolve()} by {run.software}.")


def _moment(time_ms: float) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
