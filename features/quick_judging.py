"""The cheap form, for many latents of many SAEs: two calls a latent, one to explain, one to judge 14 passages.

SAEBench's sizes; it reports accuracy, of which ten in fourteen are to be had by always answering "None", so the
headline here is balanced accuracy, and accuracy stands beside it.
"""

import re
from dataclasses import replace

import numpy as np

from features.explanations import JudgedExample
from features.judging import Examples, Messages, Method, binary_summary, example, messages, passages
from features.windows import Decode, Material, Window, plain

NUM_STRONGEST, NUM_WEIGHTED, NUM_SILENT = 2, 2, 10

SYSTEM = """\
You are told what makes one latent of a language model's sparse autoencoder fire, and you get numbered passages. In \
which of them does it fire? Answer with nothing but their numbers, with commas between, or None."""


def examples(material: Material, decode: Decode, chance: np.random.Generator) -> list[JudgedExample]:
    """The strongest, some drawn by activation, and silent windows, of the judge's half, shuffled."""
    active = [*material.judge[:NUM_STRONGEST], *_weighted(material.judge[NUM_STRONGEST:], chance)]
    found = [example(one, plain(one, decode), 1) for one in active]
    found += [example(one, plain(one, decode), 0) for one in material.silent[:NUM_SILENT]]
    return [found[place] for place in chance.permutation(len(found))]


def ask(explanation: str, asked: Examples) -> Messages:
    return messages(SYSTEM, f"It fires on: {explanation}\n\n{passages(asked)}")


def read(answer: str, asked: Examples) -> list[JudgedExample] | None:
    words = answer.strip().strip(".").strip()
    if not re.fullmatch(r"(?i)none|\[?\s*\d+(\s*,\s*\d+)*\s*\]?", words):
        return None
    numbers = {int(one) for one in re.findall(r"\d+", words)}
    if not numbers <= set(range(1, len(asked) + 1)):
        return None
    return [replace(one, answered=float(at in numbers)) for at, one in enumerate(asked, 1)]


def _weighted(windows: tuple[Window, ...], chance: np.random.Generator) -> list[Window]:
    """Drawn without putting back, each as likely as it is strong."""
    weights = np.array([one.strength for one in windows])
    count = min(NUM_WEIGHTED, int((weights > 0).sum()))
    if count == 0:
        return []
    drawn = chance.choice(len(windows), count, replace=False, p=weights / weights.sum())
    return [windows[place] for place in drawn]


QUICK = Method("quick", 14, 4, examples, ask, read, binary_summary, splits=False)
