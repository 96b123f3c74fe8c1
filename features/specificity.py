"""Specificity: how well an explanation fits single passages, 0 to 3, over the whole range of activation.

Templeton et al. 2024 rated so. The curve of ratings against activation is the result: an explanation that holds at the
top alone falls off to the left.
"""

from typing import Any

import numpy as np

from features.context import NUM_BINS
from features.explanations import JudgedExample
from features.judging import Examples, Messages, Method, Summary, example, messages, passages, read_list
from features.windows import MARK, UNMARK, Decode, Material, marked, range_of, spread

NUM_WINDOWS = 48
RATINGS = (0, 1, 2, 3)
FITS = 2
"""Ratings from here on count as a fit."""

RUBRIC = {
    0: "has nothing to do with the passage, no more than with any other text",
    1: "has to do with the passage, but vaguely, or not near the marked tokens",
    2: "fits the marked tokens loosely, or what stands close to them well",
    3: "says precisely what the marked tokens are, mean or follow",
}

SYSTEM = f"""\
You are told what makes one latent of a language model's sparse autoencoder fire, and you get numbered passages in \
which it does, on the tokens between {MARK} and {UNMARK}. Rate for each passage how well the description fits:

{chr(10).join(f"{rating}: the description {meaning}" for rating, meaning in RUBRIC.items())}

Answer with nothing but a JSON list that has one rating for each passage, in their order."""


def examples(material: Material, decode: Decode, chance: np.random.Generator) -> list[JudgedExample]:
    """Active windows of the judge's half, as many of each range as there are, shuffled."""
    windows = spread(material.judge, NUM_WINDOWS, chance)
    return [
        example(windows[place], marked(windows[place], decode, windows[place].marks), max(RATINGS))
        for place in chance.permutation(len(windows))
    ]


def ask(explanation: str, asked: Examples) -> Messages:
    return messages(SYSTEM, f"It fires on: {explanation}\n\n{passages(asked)}")


def read(answer: str, asked: Examples) -> list[JudgedExample] | None:
    return read_list(answer, asked, RATINGS)


def summary(asked: Examples) -> Summary:
    """The mean of the ranges' means, so that a range counts once however many windows it has; and the curve."""
    found = curve(asked)
    means = [one["mean"] for one in found if one["mean"] is not None]
    failed = sum(one.answered is None for one in asked)
    numbers = {"judged": len(asked) - failed, "failed": failed, "curve": found}
    return (float(np.mean(means)) if means else None), numbers


def curve(asked: Examples) -> list[dict[str, Any]]:
    """From the weakest range of activation to the strongest: mean rating, and the share that fits."""
    return [_point(number, [one for one in asked if range_of(one.strength) == number]) for number in range(NUM_BINS)]


def _point(number: int, asked: Examples) -> dict[str, Any]:
    ratings = [one.answered for one in asked if one.answered is not None]
    low = 0.0 if number == 0 else 2 ** ((number - NUM_BINS) / 2)
    mean = float(np.mean(ratings)) if ratings else None
    fits = float(np.mean([one >= FITS for one in ratings])) if ratings else None
    return {"from": low, "to": 2 ** ((number + 1 - NUM_BINS) / 2), "judged": len(ratings), "mean": mean, "fits": fits}


SPECIFICITY = Method("specificity", 5, 6, examples, ask, read, summary)
