"""What every way of judging an explanation shares: examples in, questions out, answers read, numbers of them."""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from features.explanations import JudgedExample
from features.windows import Decode, Material, Window

Messages = list[dict[str, str]]
Examples = Sequence[JudgedExample]
Summary = tuple[float | None, dict[str, Any]]
"""The headline, None where nothing could be judged, and all numbers."""

NUM_LETTERS_A_TOKEN = 3.5
"""About; for estimates of cost."""


@dataclass(frozen=True)
class Method:
    """A way of judging; none of its parts keeps anything."""

    name: str
    per_call: int
    """Examples in one question."""
    answer_tokens: int
    """At most, in the answer about one example."""
    examples: Callable[[Material, Decode, np.random.Generator], list[JudgedExample]]
    """In an order that tells the judge nothing."""
    ask: Callable[[str, Examples], Messages]
    """The question about some examples, for an explanation."""
    read: Callable[[str, Examples], list[JudgedExample] | None]
    """The examples with their answers; None where the answer cannot be read."""
    summary: Callable[[Examples], Summary]
    splits: bool = True
    """Whether examples may also be asked about one by one, after answers that cannot be read."""


def example(window: Window, text: str, expected: float, group: str = "", **details: Any) -> JudgedExample:
    """`window` as a judge sees it, not judged yet."""
    peak = float(window.acts.max(initial=0.0))
    where = group or window.group
    return JudgedExample(text, where, peak, expected, None, window.document, window.start, window.strength, details)


def messages(system: str, user: str) -> Messages:
    return [{"role": "system", "content": system}, {"role": "user", "content": user}]


def passages(examples: Examples) -> str:
    """The numbered texts of a question."""
    return "\n".join(f'<passage number="{at}">\n{one.text}\n</passage>' for at, one in enumerate(examples, 1))


def read_list(answer: str, examples: Examples, allowed: Sequence[float]) -> list[JudgedExample] | None:
    """From the last JSON list in the answer that has one of the `allowed` numbers for each example."""
    for found in reversed(re.findall(r"\[[^\[\]]*\]", answer)):
        try:
            numbers = json.loads(found)
        except ValueError:
            continue
        if len(numbers) == len(examples) and all(type(one) in (int, float) and one in allowed for one in numbers):
            return [replace(one, answered=float(number)) for one, number in zip(examples, numbers, strict=True)]
    return None


def binary_summary(examples: Examples) -> Summary:
    """Balanced accuracy of yes and no, and all that goes with it; by range of activation too."""
    judged = [one for one in examples if one.answered is not None]
    yes, no = (np.array([one.answered for one in judged if one.expected == kind]) for kind in (1, 0))
    hits, false_alarms = float(yes.sum()), float(no.sum())
    tpr = hits / len(yes) if len(yes) else None
    tnr = 1 - false_alarms / len(no) if len(no) else None
    precision = hits / (hits + false_alarms) if hits + false_alarms else None
    balanced = (tpr + tnr) / 2 if tpr is not None and tnr is not None else None
    f1 = 2 * hits / (len(yes) + hits + false_alarms) if len(yes) else None
    numbers = {
        "balanced_accuracy": balanced,
        "accuracy": (hits + len(no) - false_alarms) / len(judged) if judged else None,
        "true_positive_rate": tpr,
        "true_negative_rate": tnr,
        "precision": precision,
        "recall": tpr,
        "f1": f1,
        "judged": len(judged),
        "failed": len(examples) - len(judged),
        "by_group": by_group(examples),
    }
    return balanced, numbers


def by_group(examples: Examples) -> dict[str, dict[str, Any]]:
    """Of each group the mean answer and the share that is as expected, over those that were answered."""
    found: dict[str, dict[str, Any]] = {}
    for name in sorted({one.group for one in examples}):
        judged = [one for one in examples if one.group == name and one.answered is not None]
        answers = [one.answered for one in judged if one.answered is not None]
        right = [one.answered == one.expected for one in judged]
        mean = float(np.mean(answers)) if answers else None
        found[name] = {"judged": len(judged), "mean": mean, "right": float(np.mean(right)) if right else None}
    return found
