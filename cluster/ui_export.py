"""The page as files that need no server: it opens from a disk, and shows all but what needs the model.

Each answer is a script, `data/….js`, that hands the page one value: a browser loads scripts from a disk, but no JSON.
Latents come sixteen to a file.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from cluster.catalog_query import NUMBERS, SHOWN_TOKENS, spoken, tags
from cluster.feature_facts import latent_facts, sae_facts
from cluster.ui_answer import json_ready
from cluster.ui_assets import PLOTLY, asset, exported_page
from cluster.ui_run import run_plots
from cluster.ui_runs import Runs
from cluster.ui_shelf import Features, Shelf
from shared.errors import UserError
from shared.files import is_free

UNESCAPED = "!'()*~"
"""What JavaScript's encodeURIComponent leaves as it is, and Python's quote would not."""
FILE_LATENTS = 16
"""As export_source.js has it."""
DIGITS = 6
"""Of the catalogue's numbers."""

Progress = Callable[[str], None]


def export(runs: Runs, out: Path, progress: Progress) -> Path:
    """Writes the page of all runs into the folder `out`; gives the file to open.

    Raises:
        UserError: something is in `out` already.
    """
    if not is_free(out):
        raise UserError(f"{out} is not an empty folder; give another for the page's files")
    shelf, listing = Shelf(runs), runs.listing()
    (out / "data").mkdir(parents=True, exist_ok=True)
    (out / PLOTLY).write_bytes(asset(PLOTLY))
    for run in [one["id"] for one in listing["runs"] if one["state"] != "damaged"]:
        progress(run)
        _export_run(runs, shelf, run, out, progress)
    _put(out, ["runs"], {**listing, "root": runs.root.name, "elsewhere": []})
    page = out / "index.html"
    page.write_text(exported_page(), encoding="utf-8")
    return page


def catalog_facts(one: Features) -> dict[str, Any]:
    """The whole catalogue by columns, and what was said; the page filters and sorts it itself."""
    table, said = one.store.catalog, one.said()
    columns = {name: _rounded(table.column(name).to_pylist()) for name in (*NUMBERS, "dead")}
    promoted = [one.vocabulary.spell(ids) for ids in table.column("promoted_ids").to_pylist()]
    spoken_of = sorted({*said.labels, *said.explanations})
    return {
        "num_latents": table.num_rows,
        "shown_tokens": SHOWN_TOKENS,
        "columns": {**columns, "score": said.score(table.num_rows)},
        "promoted": promoted,
        "said": {latent: spoken(said, latent) for latent in spoken_of},
        "words": said.words(),
        "tags": tags(said),
    }


def compact(facts: dict[str, Any]) -> dict[str, Any]:
    """A latent's page with token ids alone, which the page spells, and only the activations that are not 0."""
    return {
        **facts,
        "groups": [{**group, "contexts": [_compact(one) for one in group["contexts"]]} for group in facts["groups"]],
    }


def _compact(context: dict[str, Any]) -> dict[str, Any]:
    firing = [[place, act] for place, act in enumerate(context["acts"]) if act]
    return {name: value for name, value in {**context, "acts": firing}.items() if name != "tokens"}


def _export_run(runs: Runs, shelf: Shelf, run: str, out: Path, progress: Progress) -> None:
    _put(out, ["run", run], {**runs.view(run), "is_live": False})
    _put(out, ["plots", run], run_plots(runs.facts(run)))
    names = shelf.names(run)
    if names:
        _put(out, ["vocabulary", run], shelf.vocabulary(run).texts.to_pylist())
    _put(out, ["saes", run], [sae_facts(shelf.features(run, name)) for name in names])
    for name in names:
        progress(f"{run}/{name}")
        one = shelf.features(run, name)
        _put(out, ["catalog", run, name], catalog_facts(one))
        for first in range(0, one.store.meta.num_latents, FILE_LATENTS):
            several = range(first, min(first + FILE_LATENTS, one.store.meta.num_latents))
            found = {latent: compact(latent_facts(shelf, run, name, latent)) for latent in several}
            _put(out, ["latents", run, name, str(first // FILE_LATENTS)], found)


def _put(out: Path, parts: list[str], value: Any) -> None:
    """`headrace.put("latents/demo/topk-512/3", …)` in a file of that name."""
    path = out.joinpath("data", *(quote(part, safe=UNESCAPED) for part in parts[:-1]))
    path.mkdir(parents=True, exist_ok=True)
    text = json.dumps(json_ready(value), ensure_ascii=False, separators=(",", ":"))
    name = quote(parts[-1], safe=UNESCAPED)
    (path / f"{name}.js").write_text(f"headrace.put({json.dumps(parts)}, {text});\n", encoding="utf-8")


def _rounded(values: list[Any]) -> list[Any]:
    return [float(f"{one:.{DIGITS}g}") if isinstance(one, float) else one for one in values]
