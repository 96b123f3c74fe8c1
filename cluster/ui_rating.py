"""Rating an explanation by hand, 0 to 3 for each passage, blind to how strong the latent is and what a judge said.

The passages are those that a judge has rated, where one has, so that the two can be held against each other.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from cluster.vocabulary import Vocabulary, joined
from features.agreement import weighted_kappa
from features.context import BINS, JUDGE, Context
from features.explanations import Explanation, JudgedExample, Score
from features.specificity import RATINGS, RUBRIC, curve
from features.windows import MARK, MARKED_ABOVE, UNMARK
from shared.errors import UserError

METHOD = "specificity"
PER_RANGE = 3


def passages(
    contexts: Sequence[Context], scores: Sequence[Score], explanation: Explanation, vocabulary: Vocabulary
) -> list[JudgedExample]:
    """Unanswered, in an order that tells nothing. Raises UserError if there is no text to rate on."""
    judge = _judged(scores, explanation)
    largest = max((one.max_act for one in contexts), default=1.0)
    found = judge.examples if judge else [_passage(one, vocabulary, largest) for one in _spread(contexts)]
    if not found:
        raise UserError(f"there is no text of the judge's half in which latent {explanation.latent} fires")
    blank = [replace(one, answered=None) for one in found]
    return sorted(blank, key=lambda one: hashlib.sha256(f"{explanation.id} {key_of(one)}".encode()).digest())


def blind_view(explanation: Explanation, found: Sequence[JudgedExample]) -> dict[str, Any]:
    """What the rater sees."""
    told, meanings = [{"key": key_of(one), "text": one.text} for one in found], tuple(RUBRIC.values())
    return {"explanation": explanation.text, "source": explanation.source, "passages": told, "meanings": meanings}


def rated(
    explanation: Explanation,
    found: Sequence[JudgedExample],
    scores: Sequence[Score],
    ratings: Mapping[str, int],
    author: str,
) -> Score:
    """A person's score of an explanation, and its agreement with the judge. Raises UserError for another passage."""
    known = {key_of(one): one for one in found}
    for key in ratings:
        if key not in known:
            raise UserError(f"there is no passage {key!r} to rate")
    examples = tuple(replace(known[key], answered=float(rating)) for key, rating in ratings.items())
    judge = _judged(scores, explanation)
    theirs = {key_of(one): one.answered for one in judge.examples} if judge else {}
    common = [(ratings[key], round(theirs[key] or 0)) for key in ratings if theirs.get(key) is not None]
    numbers = {
        "judged": len(examples),
        "failed": 0,
        "curve": curve(examples),
        "agreement": weighted_kappa(common, len(RATINGS)),
        "common": len(common),
        "with": judge.judge if judge else "",
    }
    value = sum(ratings.values()) / len(ratings)
    person = f"person:{author or 'someone'}"
    return Score(explanation.latent, explanation.id, METHOD, person, value, numbers, examples)


def key_of(one: JudgedExample) -> str:
    return f"{one.document}:{one.start}:{hashlib.sha256(one.text.encode()).hexdigest()[:8]}"


def _judged(scores: Sequence[Score], explanation: Explanation) -> Score | None:
    """The newest that a judge, and no person, has given to the explanation."""
    found = [
        one
        for one in scores
        if one.explanation == explanation.id and one.method == METHOD and not one.judge.startswith("person:")
    ]
    return found[-1] if found else None


def _spread(contexts: Sequence[Context]) -> list[Context]:
    """Some of each range of activation, of the half that no explanation was made from."""
    return [one for name in BINS for one in [c for c in contexts if c.group == name and c.split == JUDGE][:PER_RANGE]]


def _passage(one: Context, vocabulary: Vocabulary, largest: float) -> JudgedExample:
    pieces, inside = [], False
    for text, act in zip(vocabulary.spell(one.tokens.tolist()), one.acts.tolist(), strict=True):
        is_marked = act > MARKED_ABOVE * one.max_act
        if is_marked != inside:
            pieces.append(MARK if is_marked else UNMARK)
            inside = is_marked
        pieces.append(text)
    text = joined([*pieces, UNMARK] if inside else pieces)
    where, best, strength = (one.document, one.start), float(max(RATINGS)), one.max_act / largest
    return JudgedExample(text, one.group, one.max_act, best, None, *where, strength=strength)
