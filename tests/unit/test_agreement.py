"""Agreement of two raters."""

import pytest

from features.agreement import weighted_kappa


def test_agreement_is_one_for_the_same_and_below_nought_for_the_opposite():
    assert weighted_kappa([(0, 0), (1, 1), (3, 3)], 4) == pytest.approx(1.0)
    assert weighted_kappa([(0, 3), (3, 0)], 4) == pytest.approx(-1.0)


def test_agreement_that_is_not_there_is_none():
    assert weighted_kappa([], 4) is None
    assert weighted_kappa([(2, 2), (2, 2)], 4) is None


def test_a_near_miss_counts_less_than_a_far_one():
    pairs = [(0, 0), (1, 1), (2, 3), (3, 3)]
    expected = sum((one - other) ** 2 for one, _ in pairs for _, other in pairs) / 4
    assert weighted_kappa(pairs, 4) == pytest.approx(1 - 1 / expected)
    assert weighted_kappa(pairs, 4) > weighted_kappa([(0, 0), (1, 1), (0, 3), (3, 3)], 4)
