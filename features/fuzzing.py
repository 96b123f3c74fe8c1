"""Fuzzing: told the explanation, a judge says whether the marked tokens are those that the latent fires on.

Wrong marks are of two kinds: on silent text, which tests what the explanation is about, and on other tokens of text in
which the latent does fire, which tests where. Their places are drawn anew for each passage.
"""

from collections.abc import Sequence

import numpy as np

from features.explanations import JudgedExample
from features.judging import (
    Examples,
    Messages,
    Method,
    Summary,
    binary_summary,
    example,
    messages,
    passages,
    read_list,
)
from features.windows import MARK, UNMARK, Decode, Material, Window, marked, spread

NUM_RIGHT, NUM_SILENT, NUM_MOVED = 20, 10, 10
RIGHT, MOVED = "marked right", "marked elsewhere"

SYSTEM = f"""\
You are told what makes one latent of a language model's sparse autoencoder fire, and you get numbered passages with \
tokens marked by {MARK} and {UNMARK}. Decide for each passage whether every marked token is one that the latent \
fires on. Answer with nothing but a JSON list that has one number for each passage, in their order: 1 if all marks are \
right, 0 if not."""


def examples(material: Material, decode: Decode, chance: np.random.Generator) -> list[JudgedExample]:
    """Windows with right marks, and as many with wrong ones, of the judge's half; no window is shown twice."""
    active = spread(material.judge, NUM_RIGHT + NUM_MOVED, chance)
    num_right = max(1, len(active) * NUM_RIGHT // (NUM_RIGHT + NUM_MOVED)) if active else 0
    order = [active[place] for place in chance.permutation(len(active))]
    right, others = order[:num_right], order[num_right:]
    amount = _mean_marks(right)
    found = [example(one, marked(one, decode, one.marks), 1, RIGHT) for one in right]
    for window in others:
        wrong = _drawn(np.flatnonzero(window.acts <= 0), amount, len(window.tokens), chance)
        if wrong.any():
            found.append(example(window, marked(window, decode, wrong), 0, MOVED))
    for window in material.silent[:NUM_SILENT]:
        wrong = _drawn(np.arange(len(window.tokens)), amount, len(window.tokens), chance)
        found.append(example(window, marked(window, decode, wrong), 0))
    return [found[place] for place in chance.permutation(len(found))]


def ask(explanation: str, asked: Examples) -> Messages:
    return messages(SYSTEM, f"It fires on: {explanation}\n\n{passages(asked)}")


def read(answer: str, asked: Examples) -> list[JudgedExample] | None:
    return read_list(answer, asked, (0, 1))


def summary(asked: Examples) -> Summary:
    """As for detection."""
    return binary_summary(asked)


def _mean_marks(windows: Sequence[Window]) -> int:
    """Tokens that are marked in a passage on average, at least 1."""
    return max(1, round(float(np.mean([one.marks.sum() for one in windows])))) if windows else 1


def _drawn(places: np.ndarray, amount: int, length: int, chance: np.random.Generator) -> np.ndarray:
    """bool [length]: marks on `amount` of `places`, or on all where there are fewer."""
    marks = np.zeros(length, bool)
    marks[chance.permutation(places)[:amount]] = True
    return marks


FUZZING = Method("fuzzing", 5, 6, examples, ask, read, summary)
