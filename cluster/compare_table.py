"""What `headrace compare` prints: SAEs by size and L0, matched pairs, laws."""

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cluster.compare_wording import FRONT, alone, held_out_largest, law_subject, mcc, measured_on
from cluster.comparison import Comparison, SiteComparison
from cluster.status_table import WIDE, cell, plain_table
from cluster.suite_laws import SuiteLaw
from cluster.suite_matches import PairFacts
from cluster.wording import count, decimals, percent, plural, whole


def compare_view(comparison: Comparison, width: int) -> RenderableType:
    """Site by site, for a terminal of so many letters a line."""
    gap, parts = Text(), list[RenderableType]()
    for one in comparison.sites:
        parts += [Text.assemble((str(one.site), "bold"), f"  {plural(len(one.saes), 'SAE')}"), gap]
        parts += [_saes(one, width >= WIDE), gap]
        if one.pairs:
            parts += [_pairs(one.pairs, width >= WIDE), gap]
        if one.laws.fitted:
            parts += [_laws(one.laws.fitted), gap]
        parts += [Text(line, style="dim") for line in _refused(one.laws.refused)]
    return Group(*parts, *(Text(note, style="yellow") for note in comparison.notes))


def _refused(reasons: Sequence[str]) -> list[str]:
    """The first reason of each architecture, whose law asks for least; how many more the page has."""
    first = list({reason.partition(":")[0]: reason for reason in reversed(reasons)}.values())[::-1]
    rest = len(reasons) - len(first)
    return [*first, f"{plural(rest, 'other law')} could not be fitted either; the page says why."] if rest else first


def _saes(one: SiteComparison, is_wide: bool) -> Table:
    """Where each was measured only where there is room; `●` marks the Pareto front."""
    ce, source = ["ΔCE"] if one.has_ce else [], ["measured on"] if is_wide else []
    table = plain_table("SAE", "latents", "tokens", "L0", "FVU", *ce, "dead", *source, left=("SAE", "measured on"))
    for sae, fvu_front, ce_front in zip(one.saes, one.fvu_front, one.ce_front, strict=True):
        numbers = [whole(sae.num_latents), count(sae.tokens), decimals(sae.l0, 1), _marked(sae.fvu, fvu_front)]
        numbers += [_marked(sae.ce_delta, ce_front)] if one.has_ce else []
        where = [cell(measured_on(sae), "dim")] if is_wide else []
        table.add_row(cell(sae.name), *numbers, percent(sae.dead_fraction), *where)
    return table


def _marked(number: float | None, is_on_front: bool) -> str:
    return (FRONT if is_on_front else "") + decimals(number, 4)


def _pairs(pairs: list[PairFacts], is_wide: bool) -> Table:
    columns = ("MMCS →", "MMCS ←", "MCC", "split", *(("alone in narrower", "alone in wider") if is_wide else ()))
    table = plain_table("narrower", "wider", *columns, left=("narrower", "wider"))
    for one in pairs:
        cosines = (decimals(one.from_first.mmcs, 3), decimals(one.from_second.mmcs, 3), mcc(one))
        lonely = (alone(one.from_first), alone(one.from_second)) if is_wide else ()
        table.add_row(cell(one.first), cell(one.second), *cosines, whole(one.num_splits), *lonely)
    return table


def _laws(laws: list[SuiteLaw]) -> Table:
    table = plain_table("law", "of", "SAEs", "held out", "largest", left=("law", "of"))
    for law in laws:
        deviations = (percent(law.fit.held_out.median), held_out_largest(law))
        table.add_row(cell(law.fit.form.name), cell(law_subject(law)), whole(len(law.saes)), *deviations)
    return table
