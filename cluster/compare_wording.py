"""What a comparison says, the same in the terminal and on the page."""

from cluster.suite import EVALUATION, SuiteSae
from cluster.suite_laws import SuiteLaw
from cluster.suite_matches import PairFacts, Side
from cluster.wording import NONE, decimals, percent, whole
from trainers.law_fit import Estimate

FRONT = "● "
"""Stands before a number that is on the Pareto front."""
NOTHING = 1e-4
"""Constants below are 0 for all that can be measured."""


def measured_on(sae: SuiteSae) -> str:
    return "held-out text" if sae.source == EVALUATION else "training"


def mcc(pair: PairFacts) -> str:
    """`0.701`; `≥ 0.701` where the best assignment could not be had."""
    return ("" if pair.is_exact else "≥ ") + decimals(pair.mcc, 3)


def alone(side: Side) -> str:
    """`1,329 (65%)`; with how many of them ever fired, where some did not."""
    share = percent(side.without_counterpart / sum(side.histogram))
    fired = side.without_counterpart_that_fired
    silent = f", {whole(fired)} fired" if fired is not None and fired < side.without_counterpart else ""
    return f"{whole(side.without_counterpart)} ({share}{silent})"


def law_subject(law: SuiteLaw) -> str:
    """`topk, k=32`."""
    return ", ".join(part for part in (law.architecture, law.among) if part)


def held_out_largest(law: SuiteLaw) -> str:
    """`+1.2%`: how far above the truth the law foretells the largest."""
    largest = law.fit.held_out.largest
    return NONE if largest is None else f"{100 * largest:+.1f}%"


def interval(one: Estimate) -> str:
    """`0.301 (0.28 … 0.32)`."""
    return f"{_short(one.value, 3)} ({_short(one.low, 2)} … {_short(one.high, 2)})"


def _short(number: float, digits: int) -> str:
    """A floor that may as well be absent is 0, not 4.3e-08."""
    return f"{number:.{digits}g}" if abs(number) >= NOTHING else "0"
