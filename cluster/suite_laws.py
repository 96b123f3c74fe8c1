"""The scaling laws of a suite: which SAEs each is fitted to, and why those that are not fitted are not."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from cluster.pareto import on_front
from cluster.suite import SuiteSae
from trainers.law_fit import LawFit, fit_law
from trainers.scaling_law import BY_COMPUTE, BY_LATENTS, JOINT, JOINT_TOKENS, TOKENS, Floats, Form, Points, shortage
from trainers.training_cost import SaeShape, training_flops


@dataclass(frozen=True)
class SuiteLaw:
    """A law and the SAEs that it is of: one site, one architecture."""

    architecture: str
    among: str
    """What they share besides: `k=32`, `450,000 tokens`; empty where they share nothing else."""
    saes: list[SuiteSae]
    fit: LawFit


@dataclass(frozen=True)
class SuiteLaws:
    """All laws of a site."""

    fitted: list[SuiteLaw]
    refused: list[str]
    """A sentence for each architecture and form that has too few SAEs."""


def fit_laws(saes: Sequence[SuiteSae], on_fit: Callable[[str], None] = lambda name: None) -> SuiteLaws:
    """Every form, for the SAEs of one site; `on_fit` is told what is fitted next."""
    fitted, refused = list[SuiteLaw](), list[str]()
    for architecture, family in _grouped(saes, lambda one: one.architecture):
        for form, groups in _groups(family):
            enough = [(among, group) for among, group in groups if shortage(form, points_of(group)) is None]
            for among, group in enough:
                on_fit(f"the law {form.name} of {architecture} {among}".strip())
                fitted.append(SuiteLaw(architecture, among, group, fit_law(form, points_of(group))))
            if not enough:
                largest = max((group for _, group in groups), key=len)
                refused.append(f"{architecture}: {shortage(form, points_of(largest))}.")
    return SuiteLaws(fitted, refused)


def points_of(saes: Sequence[SuiteSae]) -> Points:
    """The SAEs as a law sees them; compute is that of their own training."""
    columns = [(one.num_latents, one.l0, one.tokens, compute_of(one), one.fvu) for one in saes]
    return Points(*np.array(columns, dtype=np.float64).T)


def compute_of(one: SuiteSae) -> float:
    """FLOPs that training it took, without the language model's."""
    return float(training_flops(shape_of(one), as_floats(one.num_latents))[0]) * one.tokens


def shape_of(one: SuiteSae) -> SaeShape:
    return SaeShape(one.architecture, one.d_in, one.d_out, one.l0)


def as_floats(*values: float) -> Floats:
    return np.array(values, dtype=np.float64)


Groups = list[tuple[str, list[SuiteSae]]]


def _groups(family: list[SuiteSae]) -> list[tuple[Form, Groups]]:
    """For each form the SAEs that it can be fitted to: what it does not know of must be the same in all."""
    by_sparsity = _grouped(family, lambda one: one.sparsity)
    by_tokens = _grouped(family, _tokens)
    by_both = [(_listed(a, b), both) for a, group in by_sparsity for b, both in _grouped(group, _tokens)]
    return [
        (BY_LATENTS, by_both),
        (BY_COMPUTE, [(_listed(among, "cheapest for their FVU"), _frontier(group)) for among, group in by_sparsity]),
        (JOINT, by_tokens),
        (TOKENS, by_sparsity),
        (JOINT_TOKENS, [("", family)]),
    ]


def _frontier(group: list[SuiteSae]) -> list[SuiteSae]:
    """Those that nothing cheaper beats: a law of compute is one of compute that was well spent."""
    kept = on_front([(compute_of(one), one.fvu) for one in group])
    return [one for one, keep in zip(group, kept, strict=True) if keep]


def _tokens(one: SuiteSae) -> str:
    return f"{one.tokens:,} tokens"


def _grouped(saes: Iterable[SuiteSae], key: Callable[[SuiteSae], str]) -> Groups:
    """By `key`, in the order in which its values come."""
    groups = dict[str, list[SuiteSae]]()
    for one in saes:
        groups.setdefault(key(one), []).append(one)
    return list(groups.items())


def _listed(*parts: str) -> str:
    return ", ".join(part for part in parts if part)
