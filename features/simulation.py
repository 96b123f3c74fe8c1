"""Simulation: told the explanation, a judge guesses the latent's activation at each token, 0 to 10.

Bills et al. 2023, in the form that any endpoint can answer: JSON with a place for each number. The score is the
correlation of guesses and activations over all tokens; guesses that never change have none, which counts as 0.
"""

import json
import re
from dataclasses import replace
from typing import Any

import numpy as np

from features.explanations import JudgedExample
from features.judging import Examples, Messages, Method, Summary, example, messages
from features.windows import Decode, Material, Window, plain, spread

NUM_STRONGEST, NUM_SPREAD, NUM_SILENT = 4, 3, 3
GREATEST = 10

SYSTEM = """\
You are told what makes one latent of a language model's sparse autoencoder fire, and you get a text, token by token, \
as JSON. Guess how strongly the latent fires on each token, as a whole number from 0 (not at all) to 10 (as strongly \
as ever); most are 0. Answer with nothing but the same JSON, with your number in place of each null. Leave the tokens \
as they are."""


def examples(material: Material, decode: Decode, chance: np.random.Generator) -> list[JudgedExample]:
    """The strongest, some of all ranges, and some silent ones, of the judge's half."""
    active = [*material.judge[:NUM_STRONGEST], *spread(material.judge[NUM_STRONGEST:], NUM_SPREAD, chance)]
    windows = [*active, *material.silent[:NUM_SILENT]]
    return [_example(windows[place], material.max_act, decode) for place in chance.permutation(len(windows))]


def ask(explanation: str, asked: Examples) -> Messages:
    (one,) = asked
    places = [{"token": token, "activation": None} for token in one.details["tokens"]]
    shown = {"fires_on": explanation, "text": one.text, "activations": places}
    return messages(SYSTEM, json.dumps(shown, ensure_ascii=False))


def read(answer: str, asked: Examples) -> list[JudgedExample] | None:
    """None unless every token is there, in order, with a number from 0 to 10."""
    (one,) = asked
    found = re.search(r"\{.*\}", answer, re.DOTALL)
    if found is None:
        return None
    try:
        places = json.loads(found[0])["activations"]
        guesses = [_number(place["activation"]) for place in places]
        tokens = [place["token"] for place in places]
    except (ValueError, KeyError, TypeError):
        return None
    if tokens != one.details["tokens"]:
        return None
    return [replace(one, answered=max(guesses), details={**one.details, "guesses": guesses})]


def summary(asked: Examples) -> Summary:
    judged = [one for one in asked if one.answered is not None]
    acts = np.concatenate([np.zeros(0), *(one.details["acts"] for one in judged)])
    guesses = np.concatenate([np.zeros(0), *(one.details["guesses"] for one in judged)])
    correlation = _correlation(guesses, acts)
    numbers: dict[str, Any] = {
        "correlation": correlation,
        "r_squared": None if correlation is None else correlation**2,
        "constant": bool(len(judged) and correlation is None),
        "tokens": len(acts),
        "judged": len(judged),
        "failed": len(asked) - len(judged),
    }
    return (correlation or 0.0) if judged else None, numbers


def _example(window: Window, max_act: float, decode: Decode) -> JudgedExample:
    tokens = [decode([int(token)]) for token in window.tokens]
    acts = [round(float(act) * GREATEST / max_act, 3) if max_act > 0 else 0.0 for act in window.acts]
    return example(window, plain(window, decode), max(acts), tokens=tokens, acts=acts)


def _number(value: Any) -> float:
    if type(value) not in (int, float) or not 0 <= value <= GREATEST:
        raise ValueError(f"{value!r} is no number from 0 to {GREATEST}")
    return float(value)


def _correlation(guesses: np.ndarray, acts: np.ndarray) -> float | None:
    """Pearson's; None where either never changes. Its square is R^2 after the best linear map of guesses to acts."""
    if len(acts) < 2 or np.ptp(guesses) == 0 or np.ptp(acts) == 0:
        return None
    return float(np.corrcoef(guesses, acts)[0, 1])


SIMULATION = Method("simulation", 1, 600, examples, ask, read, summary)
