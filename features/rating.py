"""People rate what the judge rated, without seeing its answers: specificity, 0 to 3, and how well the two agree.

Ratings go to `ratings.jsonl`, which only grows; a rater's newest of a window counts.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from features.explanations import Explanation, JudgedExample, Score
from features.journal import Journal
from features.labels import now
from features.specificity import RATINGS
from shared.errors import UserError

FILE = "ratings.jsonl"
Key = tuple[int, str, str]
"""latent, explanation, window: what is rated."""


@dataclass(frozen=True)
class Rating:
    """How well one person finds that an explanation fits a window."""

    latent: int
    explanation: str
    """The explanation's id."""
    window: str
    """Of the text, as `Item.window`."""
    rating: int
    rater: str = ""
    time: str = ""

    @property
    def key(self) -> Key:
        return self.latent, self.explanation, self.window


@dataclass(frozen=True)
class Item:
    """What a rater sees: no activation, no range, no other's rating."""

    latent: int
    explanation: str
    text: str
    """With the tokens that the latent fires on marked."""

    @property
    def window(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()[:16]

    @property
    def key(self) -> Key:
        return self.latent, self.explanation, self.window


@dataclass(frozen=True)
class Agreement:
    """Between a person and the judge, over what both have rated."""

    num_both: int
    exact: float | None
    """Share of equal ratings."""
    kappa: float | None
    """Cohen's, weighted by squared distance: 1 all equal, 0 no better than chance; None where one never varies."""


class Ratings:
    """The ratings in an SAE's features folder."""

    def __init__(self, folder: Path) -> None:
        self._names = tuple(one.name for one in fields(Rating))
        self._journal = Journal(folder / FILE, required=self._names)

    def add(self, item: Item, rating: int, rater: str = "") -> Rating:
        """Raises UserError if it is no rating."""
        if rating not in RATINGS:
            raise UserError(f"a rating must be one of {', '.join(map(str, RATINGS))}, got {rating}")
        given = Rating(*item.key, rating, rater, now())
        self._journal.append([asdict(given)])
        return given

    def of(self, rater: str = "") -> dict[Key, Rating]:
        """The newest of each window."""
        records: list[dict[str, Any]] = [line.record for line in self._journal.lines()]
        ratings = [Rating(**{name: record[name] for name in self._names}) for record in records]
        return {one.key: one for one in ratings if one.rater == rater}

    @property
    def damage(self) -> list[str]:
        """A sentence for each line of the file that cannot be read."""
        return self._journal.damage


def items_of(scores: Sequence[Score]) -> list[Item]:
    """The windows that a judge of specificity was shown."""
    return [_item(score.latent, score.explanation, one) for score in scores for one in score.examples]


def items_for(explanation: Explanation, examples: Sequence[JudgedExample]) -> list[Item]:
    """Windows for people alone; `features.specificity` draws the examples."""
    return [_item(explanation.latent, explanation.id, one) for one in examples]


def queue(items: Sequence[Item], rated: dict[Key, Rating], seed: int = 0) -> list[Item]:
    """What is still to be rated, each once, shuffled over all latents."""
    left = {item.key: item for item in items if item.key not in rated}
    ordered = [left[key] for key in sorted(left)]
    return [ordered[place] for place in np.random.default_rng(seed).permutation(len(ordered))]


def agreement(scores: Sequence[Score], rated: dict[Key, Rating]) -> Agreement:
    """Between the ratings of one person and those of the judge in `scores`."""
    judged = {_item(one.latent, one.explanation, seen).key: seen.answered for one in scores for seen in one.examples}
    both = [(rated[key].rating, int(answer)) for key, answer in judged.items() if answer is not None and key in rated]
    people, judge = np.array([one for one, _ in both], int), np.array([one for _, one in both], int)
    exact = float((people == judge).mean()) if both else None
    return Agreement(len(both), exact, weighted_kappa(people, judge) if both else None)


def weighted_kappa(first: np.ndarray, second: np.ndarray, num_ratings: int = len(RATINGS)) -> float | None:
    """Cohen's kappa with squared weights of two raters' int [n]: 1 - observed / expected disagreement."""
    seen = np.zeros((num_ratings, num_ratings))
    np.add.at(seen, (first, second), 1.0)
    distance = np.subtract.outer(np.arange(num_ratings), np.arange(num_ratings)) ** 2.0
    expected = float((distance * np.outer(seen.sum(1), seen.sum(0)) / seen.sum()).sum())
    return None if expected == 0 else float(1 - (distance * seen).sum() / expected)


def _item(latent: int, explanation: str, one: JudgedExample) -> Item:
    return Item(latent, explanation, one.text)
