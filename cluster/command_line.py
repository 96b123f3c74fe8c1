"""What a user types. Each command checks what was written before it imports anything heavy."""

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cluster.features_commands import app as features_app
from cluster.screen import err, out
from shared.errors import UserError

if TYPE_CHECKING:
    from shared.config import Job

EXPORTS = ("saelens", "sparsify")
IMPORTS = ("saelens", "sparsify", "dictionary_learning", "openai")
"""Formats, as `trainers.formats` has them, which is not imported for what is wrong here."""

MATCHES = ("sizes", "all", "none")
"""As `cluster.suite_matches.pairs_of` has them."""

app = typer.Typer(
    name="headrace",
    help="One stream of language-model activations, many sparse autoencoders.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(features_app, name="features")

JobFile = Annotated[Path, typer.Argument(metavar="JOB.yaml", help="The job file.")]
Overrides = Annotated[list[str] | None, typer.Argument(metavar="key=value", help="Keys of the job file to change.")]
JobName = Annotated[str, typer.Argument(metavar="JOB", help="A job's name, or its run folder.")]


def _typed_registry(url: str | None) -> str | None:
    if url is not None:
        from shared.registry_secret import refuse_typed_password

        refuse_typed_password(url, "--registry")
    return url


RegistryUrl = Annotated[
    str | None,
    typer.Option(
        "--registry",
        help="URL of the Redis that knows the job; default: the registry of ./runs.",
        callback=_typed_registry,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"headrace {version('headrace')}")
        raise typer.Exit


@app.callback()
def headrace(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """One stream of language-model activations, many sparse autoencoders."""


@app.command()
def run(job_file: JobFile, overrides: Overrides = None) -> None:
    """Run a job to its end, here or on the cluster that RAY_ADDRESS names; Ctrl-C saves and stops."""
    from cluster.output_place import with_lasting_output
    from shared.job_file import load_job

    _run(with_lasting_output(load_job(job_file, tuple(overrides or ()))), resume=False)


@app.command()
def resume(job: JobName, registry: RegistryUrl = None) -> None:
    """Go on with a job that was stopped or failed, exactly where its last checkpoint is."""
    from cluster.job_place import job_to_resume

    _run(job_to_resume(job, registry), resume=True)


@app.command()
def submit(
    job_file: JobFile,
    overrides: Overrides = None,
    address: Annotated[str, typer.Option(help="The cluster's dashboard, such as http://127.0.0.1:8265.")] = "",
    wait: Annotated[bool, typer.Option(help="Stay and show the job's log until it ends.")] = True,
) -> None:
    """Run a job on a Ray cluster through `ray job submit`, with time to save when it is stopped."""
    from shared.job_file import load_job

    load_job(job_file, tuple(overrides or ()))
    from cluster.ray_token import settle_ray_token

    settle_ray_token(own_cluster=False)
    from cluster.submission import submit_job

    raise typer.Exit(submit_job(job_file, tuple(overrides or ()), address, wait, out))


@app.command()
def jobs(registry: RegistryUrl = None, as_json: AsJson = False) -> None:
    """List the jobs of a registry."""
    from dataclasses import asdict

    from cluster.job_place import RUNS
    from cluster.status import jobs_table
    from shared.registry import list_jobs
    from shared.registry_place import EMBEDDED, open_registry

    where = registry or EMBEDDED
    found = []
    if where != EMBEDDED or (RUNS / ".registry").is_dir():
        with open_registry(where, RUNS) as client:
            found = list_jobs(client)
    if as_json:
        print(json.dumps([asdict(one) for one in found], indent=2))
    elif not found:
        out.print("no jobs here; begin one with: headrace run examples/demo.yaml")
    else:
        out.print(jobs_table(found))


@app.command()
def status(job: JobName, registry: RegistryUrl = None, as_json: AsJson = False) -> None:
    """Show how a job stands."""
    from cluster.job_place import find_job
    from cluster.status import print_status, status_facts

    with find_job(job, registry) as found:
        snapshot = found.registry.snapshot()
    if as_json:
        print(json.dumps(status_facts(snapshot, found.job), indent=2))
    else:
        print_status(snapshot, found.job, out)


@app.command()
def ledger(job: JobName, registry: RegistryUrl = None, as_json: AsJson = False) -> None:
    """Show where every row of a job is, and what each trainer has read; exit code 1 if it does not balance."""
    from cluster.audit import audit_facts, audit_view
    from cluster.job_place import find_job

    with find_job(job, registry) as found:
        facts = audit_facts(found.registry.snapshot())
    if as_json:
        print(json.dumps(facts, indent=2))
    else:
        out.print(audit_view(facts))
    if facts["imbalances"] or not all(facts["orders"].values()):
        raise typer.Exit(1)


@app.command()
def watch(job: JobName, registry: RegistryUrl = None) -> None:
    """Show a job's progress live until it ends; Ctrl-C leaves the job alone."""
    from cluster.job_place import find_job
    from cluster.watch import watch_job

    with find_job(job, registry) as found:
        watch_job(found.registry, found.job, out)


@app.command()
def stop(job: JobName, registry: RegistryUrl = None) -> None:
    """Save a running job and stop it; returns when it has stopped."""
    from cluster.job_place import find_job
    from cluster.watch import stop_job

    with find_job(job, registry) as found:
        stop_job(found.registry, found.job, out)


@app.command()
def report(run_folder: Annotated[str, typer.Argument(metavar="RUN", help="A run folder, or a job's name.")]) -> None:
    """Write a run's report.html: curves, fronts, throughput, ledger."""
    from cluster.job_place import find_run
    from cluster.report import write_report

    out.print(f"report  {write_report(find_run(run_folder)[0])}")


@app.command()
def export(
    sae: Annotated[Path, typer.Argument(metavar="SAE", help="An SAE's folder, such as runs/demo/saes/topk-512.")],
    out_folder: Annotated[Path, typer.Argument(metavar="OUT", help="Where to write; sparsify names folders in it.")],
    to: Annotated[str, typer.Option("--to", help=f"{' or '.join(EXPORTS)}.")],
) -> None:
    """Write an SAE in another library's format, and the labels of its latents beside it."""
    _check_there(sae)
    _check_one_of("--to", to, EXPORTS)
    from cluster.sae_labels import labels_of
    from trainers.formats import export_sae

    out.print(str(export_sae(sae, to, out_folder, labels_of(sae))), markup=False, highlight=False)


@app.command(name="import")
def import_(
    path: Annotated[
        Path, typer.Argument(metavar="PATH", help="A checkpoint: a folder, a folder of folders, or a file.")
    ],
    out_folder: Annotated[Path, typer.Argument(metavar="OUT", help="The new SAE's folder.")],
    origin: Annotated[
        str | None,
        typer.Option("--from", help="saelens, sparsify, dictionary_learning or openai; default: by its files."),
    ] = None,
    model: Annotated[str | None, typer.Option(help="The language model, if the checkpoint does not say it.")] = None,
    hookpoint: Annotated[str | None, typer.Option(help="The module, as in a job file, if it does not say it.")] = None,
    k: Annotated[int | None, typer.Option(min=1, help="Active latents of a TopK, if it does not say it.")] = None,
    allow_pickle: Annotated[bool, typer.Option("--allow-pickle", help="Read a pickle, as weights only.")] = False,
) -> None:
    """Make an SAE's folder of another library's checkpoint."""
    _check_there(path)
    if origin is not None:
        _check_one_of("--from", origin, IMPORTS)
    from trainers.formats import import_saes
    from trainers.import_options import ImportOptions

    for folder in import_saes(path, origin, out_folder, ImportOptions(model, hookpoint, k, allow_pickle)):
        out.print(str(folder), markup=False, highlight=False)


@app.command()
def push(
    place: Annotated[Path, typer.Argument(metavar="SAE|RUN", help="An SAE's folder, or a run's: all its SAEs.")],
    repo_id: Annotated[str, typer.Argument(metavar="REPO", help="Such as me/gpt2-saes; made if it is not there.")],
    private: Annotated[bool, typer.Option("--private", help="Make a new repository private.")] = False,
    revision: Annotated[str, typer.Option(help="The branch; made if it is not there.")] = "main",
    licence: Annotated[str | None, typer.Option("--licence", "--license", help="Such as apache-2.0.")] = None,
) -> None:
    """Put SAEs on the Hugging Face hub, with a model card each; the login is the hub's own (hf auth login)."""
    _check_there(place)
    from cluster.hub import push as push_saes

    done = push_saes(place, repo_id, private, revision, licence)
    out.print(f"{', '.join(done.names)}  {done.url}", markup=False, highlight=False)
    if done.licence is None:
        err.print("no licence is chosen: the cards say so; give --licence, or write it into the README.md files")


@app.command()
def evaluate(
    run_folder: Annotated[str, typer.Argument(metavar="RUN", help="A run folder, or a job's name.")],
    contexts: Annotated[int | None, typer.Option(min=1, help="Held-out contexts; default: the job file's.")] = None,
    sae: Annotated[list[str] | None, typer.Option(help="Only the SAE of this name; may be given again.")] = None,
    as_json: AsJson = False,
) -> None:
    """Measure a run's SAEs on the text that no trainer has read: reconstruction, and what the model loses by it."""
    from cluster.job_place import find_run

    folder, job = find_run(run_folder)
    with err.status("loading"):
        from cluster.evaluation_table import evaluation_view
        from cluster.run_evaluation import evaluate_run
    result = evaluate_run(folder, job, sae or (), contexts, err)
    if as_json:
        print(json.dumps(result.found, indent=2))
        return
    out.print(evaluation_view(result.found, job.name, out.width))
    if result.checkpoint is not None:
        out.print(f"\nas of checkpoint {result.checkpoint}: the run has no finished SAE, and nothing was written")
        return
    from cluster.report import write_report

    out.print(f"\nreport  {write_report(folder)}")


@app.command()
def compare(
    runs: Annotated[list[str], typer.Argument(metavar="RUN", help="Run folders, or jobs' names.")],
    match: Annotated[
        str, typer.Option(help="Which SAEs' latents to match: those that differ in size alone (sizes), all, none.")
    ] = "sizes",
    same: Annotated[float, typer.Option(help="Cosine from which two latents count as one.")] = 0.7,
    folder: Annotated[
        Path | None, typer.Option("--out", help="Where to write; default: compare/ in the first run.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compare the SAEs of runs: fronts, matched latents, scaling laws; writes compare.html."""
    _check_one_of("--match", match, MATCHES)
    if not 0 < same <= 1:
        raise UserError(f"--same must be above 0 and at most 1, got {same}")
    from cluster.job_place import find_run

    folders = [find_run(run)[0] for run in runs]
    with err.status("loading") as status:
        from cluster.compare_table import compare_view
        from cluster.run_compare import run_compare

        compared = run_compare(folders, folder, match, same, status.update)
    if as_json:
        print(json.dumps(compared.facts, indent=2))
    else:
        out.print(compare_view(compared.comparison, out.width))
        out.print(f"page  {compared.page}")


@app.command()
def plan(
    compute: Annotated[float, typer.Option(help="The budget in FLOPs, such as 1e18.")],
    runs: Annotated[
        list[str] | None, typer.Option("--run", metavar="RUN", help="A run whose SAEs give the law; again for more.")
    ] = None,
    tokens: Annotated[float | None, typer.Option(help="Tokens that there are at most.")] = None,
    d_in: Annotated[int | None, typer.Option(min=1, help="Width of the rows, where it is not the runs'.")] = None,
    sizes: Annotated[int, typer.Option(min=1, help="SAEs on one stream, each a quarter as wide as the next.")] = 1,
    model_flops: Annotated[
        float | None, typer.Option(min=0, help="FLOPs of a token's forward, where they are not the runs' model's.")
    ] = None,
    architecture: Annotated[str, typer.Option(help="Without runs: whose costs to tell.")] = "topk",
    k: Annotated[int, typer.Option(min=1, help="Without runs: active latents.")] = 64,
    as_json: AsJson = False,
) -> None:
    """Tell which sizes and how many tokens a budget is best spent on, by the scaling laws of finished runs."""
    from cluster.job_place import find_run

    for option, number in (("--compute", compute), ("--tokens", tokens)):
        if number is not None and not 0 < number < math.inf:
            raise UserError(f"{option} must be above 0 and finite, got {number}")
    if not runs and d_in is None:
        raise UserError("plan needs --run RUN, for a law, or --d-in N, for costs alone")
    from shared.trainer_configs import OWN, TRAINER_CONFIGS

    _check_one_of("--architecture", architecture, tuple(one for one in TRAINER_CONFIGS if one != OWN))
    folders = [find_run(run)[0] for run in runs or ()]
    with err.status("fitting"):
        from cluster.budget_plan import Request
        from cluster.run_plan import plan_by_costs, plan_by_runs

        request = Request(compute, tokens, d_in, sizes)
        if folders:
            planned = plan_by_runs(folders, request, model_flops)
        else:
            planned = plan_by_costs(request, architecture, k, model_flops or 0.0)
    if as_json:
        print(json.dumps(planned.facts, indent=2))
    else:
        out.print(planned.view)


@app.command()
def ui(
    runs: Annotated[Path, typer.Argument(metavar="[RUNS]", help="A folder of runs, or one run.")] = Path("runs"),
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes any that is free.")] = 8321,
    host: Annotated[str, typer.Option(help="Where to listen; on this machine only.")] = "127.0.0.1",
    registry: RegistryUrl = None,
    export_folder: Annotated[
        Path | None,
        typer.Option("--export", metavar="OUT", help="Write the page as files that need no server, instead."),
    ] = None,
) -> None:
    """Serve the web page: jobs live, and what their features mean; until Ctrl-C."""
    from cluster.ui_guard import check_host

    check_host(host)
    from cluster.ui_runs import Runs

    shown = Runs(runs, registry)
    if export_folder is not None:
        from cluster.ui_export import export as export_page

        with err.status("loading") as status:
            out.print(f"page  {export_page(shown, export_folder, status.update)}", soft_wrap=True)
        return
    from cluster.ui_app import create_app
    from cluster.ui_server import address, listen, serve

    listener = listen(host, port)
    where = address(listener)
    serve(create_app(shown), listener, lambda: out.print(f"page  {where}", soft_wrap=True))


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Tell what this machine has, and what is wrong with it."""
    from cluster.doctor import examine, print_findings

    findings = examine()
    if as_json:
        print(json.dumps(findings, indent=2))
    else:
        print_findings(findings, out)
    raise typer.Exit(1 if any(one["verdict"] == "bad" for one in findings) else 0)


def _check_there(path: Path) -> None:
    if not path.exists():
        raise UserError(f"there is no {path}")


def _check_one_of(option: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise UserError(f"{option} must be one of {', '.join(known)}, got {value!r}")


def _run(job: "Job", resume: bool) -> None:
    with out.status("loading"):
        from cluster.ray_door import settle_ray

        settle_ray()
        from cluster.closing import print_closing
        from cluster.run_job import Outcome, run_job
    outcome = run_job(job, resume, out)
    print_closing(job, outcome, out)
    raise typer.Exit(0 if outcome is Outcome.FINISHED else 130)
