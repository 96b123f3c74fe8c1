"""`headrace features score`: what a user types, checked before anything heavy is imported."""

import json
import os
import sys
from typing import Annotated, Any, NamedTuple

import typer

from cluster.progress_bar import one_by_one, progress_bar
from cluster.screen import err, out
from shared.errors import UserError

METHODS = ("detection", "fuzzing", "specificity", "simulation", "quick")
"""As `cluster.run_score` has them."""
SOURCES = ("model", "label", "n2g")


def score(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run folder, or a job's name.")],
    sae: Annotated[str, typer.Option(help="The SAE's name.")],
    latent: Annotated[list[int] | None, typer.Option(help="A latent's number; again for more; default: drawn.")] = None,
    draw: Annotated[int, typer.Option(min=1, help="Without --latent: how many to draw of those that fire.")] = 20,
    endpoint: Annotated[
        str | None, typer.Option(help="Of the judge, such as http://127.0.0.1:8000/v1; without one, patterns alone.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="The judge's name, as the endpoint has it.")] = None,
    method: Annotated[
        list[str] | None, typer.Option(help=f"{', '.join(METHODS)}; default: detection and fuzzing.")
    ] = None,
    source: Annotated[
        str, typer.Option(help="Whose explanations are judged: the model's own, the label, or n2g's patterns.")
    ] = "model",
    key_env: Annotated[str, typer.Option(help="The environment variable that holds the key.")] = "OPENAI_API_KEY",
    limit: Annotated[int | None, typer.Option(min=1, help="Calls at most; latents beyond are left out.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask whether the cost is all right.")] = False,
    concurrency: Annotated[int, typer.Option(min=1, help="Calls under way at a time.")] = 8,
    timeout_s: Annotated[float, typer.Option(min=1, help="Seconds that one call may take.")] = 120.0,
    seed: Annotated[int, typer.Option(min=0, help="Of what is drawn.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Explain latents and score the explanations: by patterns, and by a language model where an endpoint is given."""
    names = tuple(dict.fromkeys(method or METHODS[:2]))
    for one in names:
        if one not in METHODS:
            raise UserError(f"--method must be one of {', '.join(METHODS)}, got {one!r}")
    if source not in SOURCES:
        raise UserError(f"--source must be one of {', '.join(SOURCES)}, got {source!r}")
    if endpoint is not None and not endpoint.startswith(("http://", "https://")):
        raise UserError(f"--endpoint must begin with http:// or https://, got {endpoint!r}")
    if (endpoint is None) != (model is None):
        raise UserError("--endpoint and --model go together: where the judge is, and what it is called there")
    if endpoint is None and (method or source != "model"):
        raise UserError("--method and --source say how a judge judges, and there is none: give --endpoint and --model")
    from cluster.job_place import find_run

    folder, _ = find_run(run)
    with err.status("loading"):
        from cluster import run_score
        from cluster.workbench import Workbench

        bench = Workbench.open(folder)
        subject = run_score.subject_of(bench, sae, seed)
        latents = run_score.choose_latents(subject.store, latent or (), draw, seed)
    with progress_bar("patterns", len(latents), err) as tell:
        run_score.score_patterns(bench, sae, subject, latents, one_by_one(tell))
    facts: dict[str, Any] = {}
    if endpoint is not None and model is not None:
        asked = _Asked(endpoint, model, os.environ.get(key_env, ""), names, source, limit, yes, concurrency, timeout_s)
        facts = _judge(bench, subject, latents, asked)
    known = run_score.known_scores(subject, latents)
    if as_json:
        print(json.dumps({**facts, "latents": known}, indent=2))
        return
    from cluster.score_view import scores_view

    out.print(scores_view(known))


class _Asked(NamedTuple):
    """What the user wrote about judging."""

    endpoint: str
    model: str
    key: str
    methods: tuple[str, ...]
    source: str
    limit: int | None
    yes: bool
    concurrency: int
    timeout_s: float


def _judge(bench: Any, subject: Any, latents: list[int], asked: _Asked) -> dict[str, Any]:
    """Tells the cost, asks, and does it."""
    from cluster import run_score
    from cluster.score_view import cost_sentence, spent_sentence
    from features.judge import Judge

    methods, known = [run_score.METHODS[name] for name in asked.methods], run_score.answers_of(bench)
    planned = run_score.plan(subject, latents, methods, asked.source, asked.model, known, asked.limit)
    err.print(cost_sentence(planned.cost, len(planned.latents), planned.left_out), highlight=False)
    _agree(planned.cost.calls, asked.yes)
    judge = Judge(asked.endpoint, asked.model, known, asked.key, asked.concurrency, asked.timeout_s)
    with progress_bar("judging", len(planned.latents), err) as tell:
        outcome = run_score.score_by_judge(subject, planned, methods, judge, one_by_one(tell))
    if outcome.spent.failed and not outcome.spent.calls + outcome.spent.stored:
        raise UserError(f"{asked.endpoint} gave no answer ({judge.newest_failure}); nothing was judged")
    err.print(spent_sentence(outcome.spent, outcome.done), highlight=False)
    return {"cost": planned.cost.__dict__, "spent": outcome.spent.__dict__, "done": outcome.done.__dict__}


def _agree(calls: int, yes: bool) -> None:
    """Returns if the user agrees, or nothing is to be paid."""
    if yes or calls == 0:
        return
    if not sys.stdin.isatty():
        raise UserError("nobody is here to agree to the cost; give --yes")
    typer.confirm("go on?", abort=True, err=True)
