"""What a budget of FLOPs is best spent on, by the laws that the SAEs of finished runs follow.

Where those SAEs read different numbers of tokens, size and tokens are chosen together. Where all read as many, nothing
says what more tokens buy, and sizes alone are planned, for as many tokens.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from cluster.suite import Site, Suite, SuiteSae
from cluster.suite_laws import SuiteLaw, as_floats, points_of
from shared.errors import UserError
from trainers.budget import Costs, Spending, best_spending
from trainers.law_fit import Estimate, LawFit, fit_law
from trainers.scaling_law import BY_LATENTS, JOINT, JOINT_TOKENS, TOKENS, Floats, Form, Variable, shortage
from trainers.training_cost import SaeShape

SLIGHTLY = 1.01
"""What is no further beyond the SAEs that were measured is within them."""


class Request(NamedTuple):
    """What the user asks."""

    compute: float
    """FLOPs."""
    tokens: float | None = None
    """At most so many."""
    d_in: int | None = None
    """Width of the rows, where it is not that of the runs."""
    num_sizes: int = 1
    """SAEs on one stream, each a quarter as wide as the next."""


class Rounded(NamedTuple):
    """The power of two nearest to the best size, and what it then comes to."""

    latents: int
    tokens: float
    loss: Estimate


@dataclass(frozen=True)
class Advice:
    """What to train at one site, with one architecture, at one sparsity."""

    site: Site
    architecture: str
    sparsity: str
    law: SuiteLaw
    costs: Costs
    spending: Spending
    rounded: Rounded
    notes: list[str]
    """A sentence for each thing that makes it less certain than its intervals say."""

    @property
    def knows_tokens(self) -> bool:
        """Whether tokens were chosen, too."""
        return "tokens" in self.law.fit.form.variables


def advise(suite: Suite, request: Request, model_flops: dict[Site, float]) -> tuple[list[Advice], list[str]]:
    """Advice for every site, architecture and sparsity that follows a law; and why others have none.

    Args:
        model_flops: of the language model's forward on a token, for each site.
    Raises:
        UserError: there is no law for any; the budget does not pay for the smallest SAE.
    """
    found, refused = list[Advice](), list[str]()
    for site in suite.sites:
        laws = _Laws(suite.at(site))
        for group in laws.groups():
            law = laws.of(group)
            if law is None:
                reason = shortage(BY_LATENTS, points_of(group))
                refused.append(
                    " ".join(part for part in (group[0].architecture, group[0].sparsity) if part) + f": {reason}"
                )
            else:
                found.append(_advice(site, group, law, request, model_flops[site]))
    if not found:
        raise UserError(f"there is no law to plan by: {refused[0]}")
    return found, [f"{reason}." for reason in refused]


class _Laws:
    """Laws of one site's SAEs, each fitted when it is first asked for."""

    def __init__(self, saes: Sequence[SuiteSae]) -> None:
        self.saes = saes
        self._fits = dict[tuple[str, tuple[str, ...]], LawFit]()

    def groups(self) -> list[list[SuiteSae]]:
        """SAEs that differ in size and tokens alone."""
        groups = dict[tuple[str, str], list[SuiteSae]]()
        for one in self.saes:
            groups.setdefault((one.architecture, one.sparsity), []).append(one)
        return list(groups.values())

    def of(self, group: list[SuiteSae]) -> SuiteLaw | None:
        """The law of a group: of its own if it has enough SAEs, and with tokens rather than without."""
        family = [one for one in self.saes if one.architecture == group[0].architecture]
        longest = max(one.tokens for one in group)
        wanted: list[tuple[Form, list[SuiteSae]]] = [(TOKENS, group), (JOINT_TOKENS, family)]
        wanted += [
            (form, [one for one in among if one.tokens == longest])
            for form, among in ((BY_LATENTS, group), (JOINT, family))
        ]
        for form, saes in wanted:
            if shortage(form, points_of(saes)) is None:
                return SuiteLaw(group[0].architecture, group[0].sparsity, saes, self._fit(form, saes))
        return None

    def _fit(self, form: Form, saes: list[SuiteSae]) -> LawFit:
        key = form.name, tuple(one.name for one in saes)
        if key not in self._fits:
            self._fits[key] = fit_law(form, points_of(saes))
        return self._fits[key]


def _advice(site: Site, group: list[SuiteSae], law: SuiteLaw, request: Request, model_flops: float) -> Advice:
    first, l0 = group[0], float(np.mean([one.l0 for one in group]))
    widths = (request.d_in or first.d_in, request.d_in or first.d_out)
    costs = Costs(SaeShape(first.architecture, *widths, l0), model_flops, request.num_sizes)
    if "tokens" in law.fit.form.variables:
        limit = request.tokens or np.inf
        spending = best_spending(law.fit, costs, request.compute, limit)
    else:
        limit = request.tokens or float(law.saes[0].tokens)
        spending = _widest(law.fit, costs, request.compute, limit)
    rounded = _rounded(law.fit, costs, request.compute, limit, spending)
    notes = _notes(law, spending, request, first)
    return Advice(site, first.architecture, first.sparsity, law, costs, spending, rounded, notes)


def _widest(law: LawFit, costs: Costs, budget: float, tokens: float) -> Spending:
    """The most latents that `budget` pays for on `tokens` tokens: a law without tokens knows nothing better."""
    latents = costs.widest(budget, tokens)
    if not latents:
        raise UserError(f"{budget:.3g} FLOPs do not pay for the smallest SAE on {tokens:,.0f} tokens")
    loss = law.foretell(_at(costs, latents, tokens))[0]
    return Spending(
        Estimate(latents, latents, latents), Estimate(tokens, tokens, tokens), loss, (latents, latents), False
    )


def _rounded(law: LawFit, costs: Costs, budget: float, limit: float, spending: Spending) -> Rounded:
    """Down where tokens are given, since the next power of two would not be paid for."""
    exponent = math.log2(spending.latents.value)
    latents = 2.0 ** (round(exponent) if "tokens" in law.form.variables else math.floor(exponent + 1e-9))
    tokens = min(budget / float(costs.per_token(as_floats(latents))[0]), limit)
    return Rounded(int(latents), tokens, law.foretell(_at(costs, latents, tokens))[0])


def _at(costs: Costs, latents: float, tokens: float) -> dict[Variable, Floats]:
    return {"latents": as_floats(latents), "tokens": as_floats(tokens), "active": as_floats(costs.shape.active)}


def _notes(law: SuiteLaw, spending: Spending, request: Request, first: SuiteSae) -> list[str]:
    points = law.fit.points
    beyond = _beyond(spending.latents.value, points.latents, "latents", "widest", "narrowest")
    beyond += _beyond(spending.tokens.value, points.tokens, "tokens", "longest trained", "shortest trained")
    notes = [f"This extrapolates: {' and '.join(beyond)} SAE that was measured."] if beyond else []
    if "tokens" not in law.fit.form.variables:
        same = f"every SAE of this law read {law.saes[0].tokens:,} tokens"
        notes.append(f"Only the size was planned: {same}, so nothing says what more or fewer would do.")
    if request.d_in not in (None, first.d_in):
        notes.append(f"The law is of rows of width {first.d_in}; that it holds at {request.d_in} is a guess.")
    if spending.at_end:
        notes.append("The law has no best size among those that were looked at: this is the last of them.")
    return notes


def _beyond(value: float, measured: Floats, noun: str, largest: str, smallest: str) -> list[str]:
    """`3.4 times the latents of the widest`; empty where `value` lies among what was measured."""
    if value > measured.max() * SLIGHTLY:
        return [f"{value / measured.max():.2g} times the {noun} of the {largest}"]
    if value < measured.min() / SLIGHTLY:
        return [f"{value / measured.min():.2g} of the {noun} of the {smallest}"]
    return []
