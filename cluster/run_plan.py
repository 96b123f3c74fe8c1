"""`headrace plan`: reads runs, asks what a token costs, and plans."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import RenderableType

from cluster.budget_plan import Request, advise
from cluster.budget_table import cost_facts, cost_view, plan_facts, plan_view
from cluster.suite import Site, Suite, read_suite
from producers.model_facts import forward_flops
from shared.errors import UserError
from trainers.budget import Costs
from trainers.training_cost import SaeShape


@dataclass(frozen=True)
class Planned:
    """A plan, for people and for programs."""

    view: RenderableType
    facts: dict[str, Any]


def plan_by_runs(runs: Sequence[Path], request: Request, model_flops: float | None) -> Planned:
    """What to train, by the laws of `runs`; `model_flops` of a token where it is not to be that of the runs' model.

    Raises:
        UserError: the runs have too few SAEs for any law.
    """
    suite = read_suite(runs)
    notes = list(suite.missing)
    costs = {site: _model_flops(suite, site, request, model_flops, notes) for site in suite.sites}
    advice, refused = advise(suite, request, costs)
    return Planned(plan_view(request, advice, notes + refused), plan_facts(request, advice, notes + refused))


def plan_by_costs(request: Request, architecture: str, active: float, model_flops: float) -> Planned:
    """What each size costs, where there is no run to learn a law from."""
    assert request.d_in is not None, "asked for before"
    costs = Costs(SaeShape(architecture, request.d_in, request.d_in, active), model_flops, request.num_sizes)
    return Planned(cost_view(request, costs), cost_facts(request, costs))


def _model_flops(suite: Suite, site: Site, request: Request, given: float | None, notes: list[str]) -> float:
    """Of a token's forward as far as the site; 0, and a note, where that cannot be known."""
    if given is not None:
        return given
    if request.d_in is not None:
        notes.append("The language model's forward is not counted: it is not the runs' own; give --model-flops.")
        return 0.0
    job = suite.jobs[site]
    hookpoints = tuple(dict.fromkeys((*site.inputs, *site.targets)))
    try:
        return forward_flops(job.model.model_copy(update={"hookpoints": hookpoints}), job.corpus.context_tokens)
    except UserError as error:
        notes.append(f"The language model's forward is not counted: {error}; give --model-flops.")
        return 0.0
