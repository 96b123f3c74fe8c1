"""Latents that tell one set of prompts from another: where a concept, or a danger, is looked for.

For each latent the mean over prompts of its greatest activation is compared between the sets. What fires on nearly
everything, or on much of the other set as well, is left out. That a latent tells them apart does not say that the model
does what the prompts are about: whether it acts on what the model then predicts is checked by taking it away.
"""

import json
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import numpy as np

from shared.errors import UserError

SETS = "contrasts"
"""The folder of ready sets in this package."""


@dataclass(frozen=True)
class ContrastSet:
    """Prompts with something in them, and prompts that are like them without it."""

    name: str
    description: str
    positive: tuple[str, ...]
    negative: tuple[str, ...]


class Contrast(NamedTuple):
    """How one latent tells the sets apart."""

    latent: int
    difference: float
    """Mean of the greatest activation in a prompt, positive less negative, times the norm of the direction."""
    standardised: float
    """The same over the spread of both sets (Welch's t): how sure it is."""
    positive_share: float
    """Of the positive prompts, in how many it fires."""
    negative_share: float
    density: float


def contrast(
    positive: np.ndarray,
    negative: np.ndarray,
    density: np.ndarray,
    norms: np.ndarray,
    max_density: float = 0.05,
    max_negative_share: float = 0.5,
) -> list[Contrast]:
    """The latents that are stronger in positive prompts, the greatest difference first.

    Args:
        positive, negative: [prompts, L], the greatest activation in each prompt.
        density, norms: [L], share of tokens on which a latent fires, and length of its direction.
    """
    difference = positive.mean(0) - negative.mean(0)
    spread = np.sqrt(sum(_variance(one) / max(1, len(one)) for one in (positive, negative)))
    shares = (positive > 0).mean(0), (negative > 0).mean(0)
    chosen = np.flatnonzero((difference > 0) & (density <= max_density) & (shares[1] <= max_negative_share))
    strength = difference * norms
    return [
        Contrast(
            latent=int(one),
            difference=float(strength[one]),
            standardised=float(difference[one] / spread[one]) if spread[one] > 0 else float("inf"),
            positive_share=float(shares[0][one]),
            negative_share=float(shares[1][one]),
            density=float(density[one]),
        )
        for one in chosen[np.lexsort((chosen, -strength[chosen]))]
    ]


def ready_sets() -> tuple[str, ...]:
    """The names of the sets that come with Headrace."""
    folder = resources.files(__package__).joinpath(SETS)
    return tuple(sorted(path.name.removesuffix(".json") for path in folder.iterdir() if path.name.endswith(".json")))


def load_set(name: str) -> ContrastSet:
    """A ready set by its name, or one of a file of the same form.

    Raises:
        UserError: there is none, or the file is not of that form.
    """
    if name in ready_sets():
        text = resources.files(__package__).joinpath(SETS, f"{name}.json").read_text("utf-8")
    elif Path(name).is_file():
        text = Path(name).read_text("utf-8")
    else:
        raise UserError(f"there is no set of prompts {name!r}: give a JSON file, or one of {', '.join(ready_sets())}")
    try:
        raw = json.loads(text)
        pairs = [(pair["with"], pair["without"]) for pair in raw["pairs"]]
        found = ContrastSet(Path(name).stem, str(raw.get("description", "")), *map(tuple, zip(*pairs, strict=True)))
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f'{name} must hold {{"pairs": [{{"with": TEXT, "without": TEXT}} …]}}: {error!r}') from None
    return found


def _variance(values: np.ndarray) -> np.ndarray:
    return values.var(0, ddof=1) if len(values) > 1 else np.zeros(values.shape[1])
