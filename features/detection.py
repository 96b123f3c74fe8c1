"""Detection: told the explanation, a judge says in which passages the latent fires (Delphi's protocol)."""

import numpy as np

from features.explanations import JudgedExample
from features.judging import Examples, Messages, Method, binary_summary, example, messages, passages, read_list
from features.windows import Decode, Material, plain, spread

NUM_ACTIVE, NUM_SILENT = 25, 25

SYSTEM = """\
You are told what makes one latent of a language model's sparse autoencoder fire, and you get numbered passages. \
Decide for each passage whether the latent fires anywhere in it. Answer with nothing but a JSON list that has one \
number for each passage, in their order: 1 if it fires, 0 if it does not."""


def examples(material: Material, decode: Decode, chance: np.random.Generator) -> list[JudgedExample]:
    """Windows with and without, of the judge's half."""
    active = [example(one, plain(one, decode), 1) for one in spread(material.judge, NUM_ACTIVE, chance)]
    silent = [example(one, plain(one, decode), 0) for one in material.silent[:NUM_SILENT]]
    return [(active + silent)[place] for place in chance.permutation(len(active) + len(silent))]


def ask(explanation: str, asked: Examples) -> Messages:
    return messages(SYSTEM, f"It fires on: {explanation}\n\n{passages(asked)}")


def read(answer: str, asked: Examples) -> list[JudgedExample] | None:
    return read_list(answer, asked, (0, 1))


DETECTION = Method("detection", 5, 6, examples, ask, read, binary_summary)
