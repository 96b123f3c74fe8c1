"""A person rates what the judge rated, blind, and the agreement of the two is a number."""

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from features.explanations import JudgedExample, Score
from features.rating import Item, Ratings, agreement, items_of, queue, weighted_kappa
from shared.errors import UserError


def score(answers: list[float | None], latent: int = 5) -> Score:
    examples = tuple(
        JudgedExample(f"text {number}", "bin7", 9.0, 3, answer, document=number, start=number, strength=0.9)
        for number, answer in enumerate(answers)
    )
    return Score(latent, "id", "specificity", "judge", 1.0, {}, examples)


def test_the_queue_is_shuffled_blind_and_holds_what_is_not_rated_yet(tmp_path: Path) -> None:
    ratings = Ratings(tmp_path)
    items = items_of([score([3.0] * 6), score([0.0] * 6, latent=7)])
    first = queue(items, ratings.of("ada"), seed=1)
    assert sorted(one.key for one in first) == sorted(one.key for one in items) and len(first) == 12
    assert [one.latent for one in first] not in ([5] * 6 + [7] * 6, [7] * 6 + [5] * 6)
    assert [one.name for one in fields(Item)] == ["latent", "explanation", "text"]
    ratings.add(first[0], 2, "ada")
    assert first[0] not in queue(items, ratings.of("ada")) and first[0] in queue(items, ratings.of("bob"))
    assert queue(items, {}, seed=1) == first


def test_the_newest_rating_counts_and_none_is_lost(tmp_path: Path) -> None:
    ratings, (item, *_) = Ratings(tmp_path), items_of([score([1.0, 2.0])])
    ratings.add(item, 0)
    ratings.add(item, 3)
    assert ratings.of()[item.key].rating == 3
    assert (tmp_path / "ratings.jsonl").read_text().count("\n") == 2
    with pytest.raises(UserError, match="a rating must be one of 0, 1, 2, 3, got 4"):
        ratings.add(item, 4)


def test_agreement_is_over_what_both_have_rated(tmp_path: Path) -> None:
    ratings, judged = Ratings(tmp_path), score([3.0, 2.0, 0.0, None, 1.0])
    for item, rating in zip(items_of([judged]), (3, 2, 0, 1), strict=False):
        ratings.add(item, rating)
    found = agreement([judged], ratings.of())
    assert found.num_both == 3 and found.exact == 1.0 and found.kappa == pytest.approx(1.0)
    assert agreement([judged], {}).kappa is None


def test_kappa_weighs_by_squared_distance() -> None:
    first, second = np.array([0, 1, 2, 3, 3, 0]), np.array([0, 1, 1, 3, 0, 1])
    # observed: mean of 0,0,1,0,9,1; expected: mean squared distance over all pairs of the two raters' ratings
    expected = np.mean([(a - b) ** 2 for a in first for b in second])
    assert weighted_kappa(first, second) == pytest.approx(1 - (11 / 6) / expected)
    assert weighted_kappa(first, 3 - first) < 0  # type: ignore[operator]
    assert weighted_kappa(np.array([2, 2]), np.array([2, 2])) is None
    chance = np.random.default_rng(0).integers(0, 4, (2, 20_000))
    assert abs(weighted_kappa(*chance)) < 0.03  # type: ignore[arg-type]
