"""The Pareto front: those that nothing beats."""

from collections.abc import Sequence


def on_front(costs: Sequence[tuple[float, float]]) -> list[bool]:
    """For each pair of costs whether no other is at most as high in both and lower in one; equal ones stay both."""
    return [not any(_beats(other, one) for other in costs) for one in costs]


def _beats(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return one[0] <= other[0] and one[1] <= other[1] and one != other
