"""`headrace features …`: what the latents of a run's SAEs mean."""

import json
from typing import Annotated

import typer

from cluster.screen import err, out

app = typer.Typer(help="What the latents of a run's SAEs mean.", no_args_is_help=True, rich_markup_mode=None)

Run = Annotated[str, typer.Argument(metavar="RUN", help="A run folder, or a job's name.")]
Saes = Annotated[list[str] | None, typer.Option("--sae", help="Only the SAE of this name; may be given again.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def collect(
    run: Run,
    sae: Saes = None,
    tokens: Annotated[int, typer.Option(min=1, help="About how many tokens to look at.")] = 1_000_000,
    source: Annotated[
        str | None, typer.Option(help="Other text, as corpus.source has it; default: what no SAE of the run has read.")
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="Strongest contexts to keep of each latent.")] = 32,
    per_bin: Annotated[int, typer.Option(min=1, help="Contexts to draw from each range of activation.")] = 4,
    silent: Annotated[int, typer.Option(min=0, help="Windows in the pool of silent contexts.")] = 2000,
    window: Annotated[int, typer.Option(min=1, help="Tokens to keep of a context.")] = 64,
    seed: Annotated[int, typer.Option(min=0, help="Of what is drawn.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Collect moments and contexts of every latent of a run's SAEs, in one pass over text that they have not read."""
    from cluster.job_place import find_run

    folder, job = find_run(run)
    with err.status("loading"):
        from cluster.collect_run import collect_run
        from features.settings import CollectionSettings
    settings = CollectionSettings(top, per_bin, silent, window, seed)
    done = collect_run(folder, job, sae or (), tokens, settings, source, err)
    if as_json:
        facts = {"tokens": done.rows, "contexts": done.contexts, "checkpoint": done.checkpoint, "source": done.source}
        print(json.dumps({**facts, "folders": {name: str(place) for name, place in done.folders.items()}}, indent=2))
        return
    if done.went_on_from:
        err.print(f"went on from {done.went_on_from:,} tokens that an interrupted collection had seen")
    out.print(f"{done.rows:,} tokens of {done.source}", markup=False, highlight=False)
    if done.checkpoint is not None:
        out.print(f"as of checkpoint {done.checkpoint}: the run has no finished SAE yet")
    for place in done.folders.values():
        out.print(str(place), markup=False, highlight=False)
