"""A latent's explanation by a language model, from windows of the explainer's half alone."""

import math
import re
from collections.abc import Sequence

import numpy as np

from features.judging import Messages, messages
from features.windows import MARK, UNMARK, Decode, Material, Window, marked, spread

NUM_STRONGEST, NUM_SPREAD = 12, 12
"""Windows that are shown: the strongest, and others from all ranges of activation."""
ANSWER_TOKENS = 300
TRUSTED_TEXT_LENGTH = 400
"""Letters of an explanation; longer ones are cut."""
REMINDER = "Give your answer again, with a last line that begins with EXPLANATION: and holds the explanation alone."

SYSTEM = f"""\
You look into a language model through a sparse autoencoder. One of its latents fires on certain tokens of a text and \
is silent on all others. You get passages in which it fires. The tokens that it fires on stand between {MARK} and \
{UNMARK}; after each passage these tokens are listed with how strongly it fires there, from 1 (weakly) to 10 (as \
strongly as ever).

Find out what makes it fire: what the marked tokens are, what they mean, or what comes before them. The strong \
passages say most. A passage that fits nothing else may be noise. Describe it in one short phrase or sentence, as \
narrowly as the passages allow, without mentioning the marks and without examples that you have not seen. You may \
think first; the last line of your answer must be

EXPLANATION: the description"""


def question(windows: Sequence[Window], max_act: float, decode: Decode) -> Messages:
    """What the explainer is asked."""
    shown = [_passage(number, window, max_act, decode) for number, window in enumerate(windows, 1)]
    return messages(SYSTEM, "\n\n".join(shown))


def chosen(material: Material, chance: np.random.Generator) -> list[Window]:
    """What the explainer sees: the strongest windows, then others from every range."""
    strongest = list(material.explain[:NUM_STRONGEST])
    return strongest + spread(material.explain[NUM_STRONGEST:], NUM_SPREAD, chance)


def read(answer: str) -> str | None:
    """The explanation in the answer; None where there is none."""
    found = re.findall(r"EXPLANATION:[ \t*]*(\S[^\n]*)", answer)
    return found[-1].strip().strip("*").strip()[:TRUSTED_TEXT_LENGTH] if found else None


def _passage(number: int, window: Window, max_act: float, decode: Decode) -> str:
    marks = window.marks
    strengths = [
        f"{decode([int(token)])!r} {max(1, math.ceil(10 * float(act) / max_act))}"
        for token, act, is_marked in zip(window.tokens, window.acts, marks, strict=True)
        if is_marked
    ]
    text = marked(window, decode, marks)
    return f'<passage number="{number}">\n{text}\n</passage>\nfires on: {", ".join(strengths[:10])}'
