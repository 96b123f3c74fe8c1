"""What a comparison of SAEs finds, site by site, and how it reads as JSON."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cluster.pareto import on_front
from cluster.suite import Site, Suite, SuiteSae
from cluster.suite_laws import SuiteLaw, SuiteLaws, compute_of, fit_laws
from cluster.suite_matches import Pair, PairFacts, match_pairs, pairs_of
from cluster.wording import percent, plural

FORMAT_VERSION = 1
ALIKE = 0.1
"""Share of latents that match by their number from which it is said."""
OnStep = Callable[[str], None]
"""Is told what is done next."""


@dataclass(frozen=True)
class SiteComparison:
    """SAEs of the same rows."""

    site: Site
    saes: list[SuiteSae]
    fvu_front: list[bool]
    """Whether each is on the Pareto front of L0 and FVU."""
    ce_front: list[bool]
    """The same of L0 and ΔCE; false where ΔCE is not known."""
    pairs: list[PairFacts]
    left_out: list[Pair]
    """Pairs that were not matched because it would have taken too long."""
    laws: SuiteLaws

    @property
    def has_ce(self) -> bool:
        return any(one.ce_delta is not None for one in self.saes)


@dataclass(frozen=True)
class Comparison:
    """All sites of a suite."""

    suite: Suite
    sites: list[SiteComparison]
    same: float
    """Cosine from which two latents count as one."""

    @property
    def notes(self) -> list[str]:
        """A sentence for all that is not as complete, or not as certain, as one would wish."""
        notes, pairs = list(self.suite.missing), [pair for one in self.sites for pair in one.pairs]
        if left_out := sum(len(one.left_out) for one in self.sites):
            notes.append(f"{plural(left_out, 'pair')} of SAEs would take long to match: --match all does it.")
        most_alike = max((pair.same_number for pair in pairs), default=0.0)
        if most_alike > ALIKE:
            notes.append(
                f"Up to {percent(most_alike)} of an SAE's latents have their nearest at their own number: SAEs of one "
                "seed begin with the same directions, and matches tell in part how near to that start they still are."
            )
        return notes


def compare_suite(suite: Suite, which: str, same: float, folder: Path, on_step: OnStep) -> Comparison:
    """Compares all SAEs of `suite`; the tables of matched latents go into `folder`.

    Raises:
        UserError: an SAE's weights cannot be read.
    """
    sites = [(site, suite.at(site)) for site in suite.sites]
    chosen = [pairs_of(saes, which) for _, saes in sites]
    matched = iter(
        match_pairs(
            [pair for pairs, _ in chosen for pair in pairs],
            folder,
            same,
            lambda pair: on_step(f"matching {pair.first.name} and {pair.second.name}"),
        )
    )
    found = [
        SiteComparison(
            site=site,
            saes=saes,
            fvu_front=on_front([(one.l0, one.fvu) for one in saes]),
            ce_front=_ce_front(saes),
            pairs=[next(matched) for _ in pairs],
            left_out=left_out,
            laws=fit_laws(saes, lambda name: on_step(f"fitting {name}")),
        )
        for (site, saes), (pairs, left_out) in zip(sites, chosen, strict=True)
    ]
    return Comparison(suite, found, same)


def comparison_facts(comparison: Comparison) -> dict[str, Any]:
    """For JSON."""
    return {
        "format_version": FORMAT_VERSION,
        "runs": [str(run) for run in comparison.suite.runs],
        "notes": comparison.notes,
        "same": comparison.same,
        "sites": [_site_facts(one) for one in comparison.sites],
    }


def law_facts(law: SuiteLaw) -> dict[str, Any]:
    """A fitted law for JSON."""
    form = law.fit.form
    return {
        "name": form.name,
        "formula": form.formula,
        "source": form.source,
        "architecture": law.architecture,
        "among": law.among,
        "saes": [one.name for one in law.saes],
        "constants": {name: one._asdict() for name, one in law.fit.constants.items()},
        "held_out": law.fit.held_out._asdict(),
        "spread": law.fit.spread,
    }


def _ce_front(saes: list[SuiteSae]) -> list[bool]:
    known = [(one.l0, one.ce_delta) for one in saes if one.ce_delta is not None]
    kept = iter(on_front(known))
    return [one.ce_delta is not None and next(kept) for one in saes]


def _site_facts(one: SiteComparison) -> dict[str, Any]:
    saes = [
        {
            **{key: value for key, value in asdict(sae).items() if key not in ("folder", "site")},
            "folder": str(sae.folder),
            "training_flops": compute_of(sae),
            "on_fvu_front": on_fvu_front,
            "on_ce_front": on_ce_front,
        }
        for sae, on_fvu_front, on_ce_front in zip(one.saes, one.fvu_front, one.ce_front, strict=True)
    ]
    return {
        "model": one.site.model,
        "inputs": list(one.site.inputs),
        "targets": list(one.site.targets),
        "saes": saes,
        "pairs": [pair.facts() for pair in one.pairs],
        "pairs_left_out": [[pair.first.name, pair.second.name] for pair in one.left_out],
        "laws": [law_facts(law) for law in one.laws.fitted],
        "laws_refused": one.laws.refused,
    }
