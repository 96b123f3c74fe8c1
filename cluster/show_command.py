"""`headrace features show`: what a user types, checked before anything heavy is imported."""

import json
from typing import Annotated

import typer

from cluster.screen import err, out
from shared.errors import UserError

BRIEF_CONTEXTS, CONTEXTS = 3, 10
"""Of each latent: in a list, and where latents are named."""


def show(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run folder, or a job's name.")],
    sae: Annotated[str, typer.Option(help="The SAE's name.")],
    latent: Annotated[list[int] | None, typer.Option(help="All about this latent; again for more.")] = None,
    sort: Annotated[
        str | None,
        typer.Option(help="clarity, score, density, max_act, fvu_share … or label; default: the first that is known."),
    ] = None,
    ascending: Annotated[bool, typer.Option("--ascending", help="The least first.")] = False,
    text: Annotated[str, typer.Option(help="Only with this in label, explanation or promoted tokens.")] = "",
    tag: Annotated[str, typer.Option(help="Only with this tag; * for any.")] = "",
    min_density: Annotated[float, typer.Option(min=0, max=1, help="Only what fires on so many of all tokens.")] = 0.0,
    max_density: Annotated[float, typer.Option(min=0, max=1, help="Only what fires on no more of them.")] = 1.0,
    count: Annotated[int, typer.Option(min=1, max=500, help="Latents to list.")] = 8,
    contexts: Annotated[int | None, typer.Option(min=0, help="Contexts of each; default 3, with --latent 10.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show latents with their contexts, promoted tokens and explanations: some by number, or the first of a list."""
    if latent and (sort or text or tag or ascending or min_density > 0 or max_density < 1):
        raise UserError("--latent names latents, and the options of a list choose others: give one or the other")
    from cluster.job_place import find_run

    folder, _ = find_run(run)
    with err.status("loading"):
        from cluster.catalog_query import CatalogQuery
        from cluster.feature_facts import latent_facts, listed_latents
        from cluster.show_view import latents_view
        from cluster.ui_answer import json_ready
        from cluster.ui_runs import Runs
        from cluster.ui_shelf import UNSCORED, Shelf

        shelf, name = Shelf(Runs(folder)), folder.resolve().name
        one = shelf.features(name, sae)
        density = ("density", min_density or None, max_density if max_density < 1 else None)
        query = CatalogQuery(sort or one.telling_column, not ascending, 0, count, text, tag, "alive", (density,))
        chosen = list(dict.fromkeys(latent or ())) or listed_latents(one, query)
        found = [latent_facts(shelf, name, sae, each) for each in chosen]
    if as_json:
        print(json.dumps(json_ready(found), indent=2))
        return
    if not latent and not sort and query.sort == UNSCORED:
        out.print(f"by {UNSCORED}; the clearest first after: headrace features score {run} --sae {sae}", style="dim")
    num_contexts = contexts if contexts is not None else CONTEXTS if latent else BRIEF_CONTEXTS
    out.print(latents_view(found, num_contexts, is_brief=not latent), soft_wrap=False)
