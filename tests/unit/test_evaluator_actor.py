"""When the evaluator measures, and what it tells; that it runs is seen in tests/integration."""

import pytest

from cluster.evaluator_actor import due, span


@pytest.mark.parametrize(
    ("newest", "last", "block"),
    [
        (None, 0, None),
        (0, 0, None),
        (5, 0, None),
        (10, 0, 10),
        (40, 0, 40),
        (40, 35, None),
        (45, 35, 45),
        (30, 40, None),
    ],
)
def test_the_newest_checkpoint_is_measured_once_it_is_far_enough_from_the_last(
    newest: int | None, last: int, block: int | None
) -> None:
    assert due(newest, last, every_blocks=10) == block


def test_one_value_is_no_span() -> None:
    assert span([0.25]) == span([0.25, 0.25]) == "0.2500"
    assert span([0.5, 0.25, 0.3]) == "0.2500 to 0.5000"
