"""`headrace features …`: what the latents of a run's SAEs mean."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from cluster.score_command import score
from cluster.screen import err, out
from cluster.show_command import show
from cluster.steer_command import steer
from shared.errors import UserError

VIEWERS = ("saedashboard", "neuronpedia", "openai")
"""Formats, as `cluster.export_features` has them."""

app = typer.Typer(help="What the latents of a run's SAEs mean.", no_args_is_help=True, rich_markup_mode=None)

app.command()(show)
app.command()(steer)
app.command()(score)

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
    collectors: Annotated[
        int, typer.Option(min=1, help="Ray actors that share the text, placed as producers are; 1: this process alone.")
    ] = 1,
    as_json: AsJson = False,
) -> None:
    """Collect moments and contexts of every latent of a run's SAEs, in one pass over text that they have not read."""
    from cluster.job_place import find_run

    folder, job = find_run(run)
    with err.status("loading"):
        if collectors > 1:
            from cluster.ray_door import settle_ray

            settle_ray()
        from cluster.collect_run import collect_run
        from features.settings import CollectionSettings
    settings = CollectionSettings(top, per_bin, silent, window, seed)
    try:
        done = collect_run(folder, job, sae or (), tokens, settings, source, err, collectors=collectors)
    except KeyboardInterrupt:
        err.print("interrupted; the same command goes on from what was saved, each minute", markup=False)
        raise
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


@app.command()
def search(
    run: Run,
    words: Annotated[list[str] | None, typer.Argument(metavar="[WORDS]", help="Words in contexts and labels.")] = None,
    contrast: Annotated[
        str | None, typer.Option(help="A set of prompts with and without something: a ready one, or a JSON file.")
    ] = None,
    like: Annotated[str | None, typer.Option(help="SAE/LATENT, or a file of one vector: latents near it.")] = None,
    odd: Annotated[str | None, typer.Option(metavar="TEXT", help="Not a latent, but how odd a text is.")] = None,
    sae: Saes = None,
    count: Annotated[int, typer.Option(min=1, help="Latents to show.")] = 20,
    max_density: Annotated[
        float, typer.Option(min=0, max=1, help="With --contrast: leave out what fires on more of all tokens.")
    ] = 0.05,
    check: Annotated[
        bool, typer.Option(help="With --contrast: take each latent away and see what the model loses.")
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Find latents by words, by contrast between prompts, by direction; or tell how odd a text is to the SAEs."""
    wanted = {"WORDS": words, "--contrast": contrast, "--like": like, "--odd": odd}
    if bool(words) + sum(one is not None for one in (contrast, like, odd)) != 1:
        raise UserError(f"search needs exactly one of {', '.join(wanted)}")
    if words and not " ".join(words).strip():
        raise UserError("WORDS must hold a letter or a sign, got blanks alone")
    from features.contrast import load_set

    prompts = load_set(contrast) if contrast else None
    from cluster.job_place import find_run

    folder, _ = find_run(run)
    with err.status("loading"):
        from cluster.feature_search import FeatureSearch
        from cluster.search_table import anomaly_view, search_view
        from cluster.text_anomaly import anomalies
        from cluster.workbench import Workbench
    bench = Workbench.open(folder)
    with err.status("searching"):
        if odd:
            found = anomalies(bench, sae or (), odd)
            facts, view = [asdict(one) for one in found], anomaly_view(found)
        else:
            searcher = FeatureSearch(bench, sae or ())
            if words:
                hits = searcher.by_words(" ".join(words), count)
            elif prompts:
                hits = searcher.by_contrast(prompts, count, max_density, check)
            else:
                hits = searcher.by_direction(like or "", count)
            facts, view = [one.facts() for one in hits], search_view(hits)
    if as_json:
        print(json.dumps(facts, indent=2))
    else:
        out.print(view)


@app.command()
def export(
    run: Run,
    out_folder: Annotated[Path, typer.Argument(metavar="OUT", help="Where to write.")],
    to: Annotated[str, typer.Option("--to", help=f"{', '.join(VIEWERS[:-1])} or {VIEWERS[-1]}.")],
    sae: Saes = None,
    latent: Annotated[list[int] | None, typer.Option(help="Only this latent; may be given again.")] = None,
) -> None:
    """Write the collected features in the format of another viewer."""
    if to not in VIEWERS:
        raise UserError(f"--to must be one of {', '.join(VIEWERS)}, got {to!r}")
    from cluster.job_place import find_run

    folder, _ = find_run(run)
    with err.status("writing"):
        from cluster.export_features import export_features

        written = export_features(folder, to, out_folder, sae or (), latent or ())
    for place in written:
        out.print(str(place), markup=False, highlight=False)
