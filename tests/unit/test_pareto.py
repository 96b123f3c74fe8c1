from hypothesis import given
from hypothesis import strategies as st

from cluster.pareto import on_front


def test_what_is_beaten_is_not_on_the_front() -> None:
    costs = [(1.0, 5.0), (2.0, 3.0), (2.0, 4.0), (3.0, 3.0), (4.0, 1.0), (4.0, 1.0)]
    assert on_front(costs) == [True, True, False, False, True, True]
    assert on_front([]) == []


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1))
def test_the_front_is_never_empty_and_beats_all_others(costs: list[tuple[float, float]]) -> None:
    kept = on_front(costs)
    front = [one for one, keep in zip(costs, kept, strict=True) if keep]
    assert front
    for one, keep in zip(costs, kept, strict=True):
        beaten = any(other[0] <= one[0] and other[1] <= one[1] and other != one for other in front)
        assert beaten != keep
