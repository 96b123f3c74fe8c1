"""How odd a text is to the SAEs of a run, beside the text that their features were collected from."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from cluster.prompt_rows import Prompt, read_prompts, read_tokens
from cluster.workbench import Workbench
from features.anomaly import Oddness, rareness, rarity, surprise
from features.store import FeatureStore, open_stores

ORDINARY_WINDOWS = 256
"""Of a store's pool: what a text is held against."""


class OddToken(NamedTuple):
    """A token of a text that was looked at."""

    token: str
    error_surprise: float
    rarity_surprise: float
    latent: int | None
    """Of those that fire, the one that adds most to rarity."""


@dataclass(frozen=True)
class Anomaly:
    """How odd a text is to one SAE."""

    sae: str
    score: float
    ordinary_scores: tuple[float, float]
    """The median of the windows that it was held against, and what 95 in 100 of them are below."""
    tokens: tuple[OddToken, ...]


def anomalies(bench: Workbench, names: Sequence[str], text: str) -> list[Anomaly]:
    """Of each SAE. Raises UserError if nothing has been collected for one, or the text is empty."""
    return [_anomaly(bench, name, store, text) for name, store in open_stores(bench.folder, names).items()]


def _anomaly(bench: Workbench, name: str, store: FeatureStore, text: str) -> Anomaly:
    subject, density = bench.sae(name), store.catalog.column("density").to_numpy()
    rare = rareness(density, store.meta.tokens)
    prefix = bench.template.prefix
    windows = [torch.tensor([*prefix, *one.tolist()]) for one in store.pool_tokens(ORDINARY_WINDOWS)]
    each = [_oddness(one, rare) for one in read_tokens(bench, subject, windows)]
    ordinary = Oddness(*(np.concatenate(column) for column in zip(*each, strict=True)))
    usual = np.quantile([surprise(one, ordinary).score for one in each], [0.5, 0.95])
    (prompt,) = read_prompts(bench, subject, [text])
    found = surprise(_oddness(prompt, rare), ordinary)
    weights = prompt.acts * rare
    latents = [int(row.argmax()) if row.any() else None for row in weights]
    tokens = zip(bench.texts(prompt.tokens.tolist()), found.error.tolist(), found.rarity.tolist(), latents, strict=True)
    return Anomaly(name, found.score, (float(usual[0]), float(usual[1])), tuple(OddToken(*one) for one in tokens))


def _oddness(one: Prompt, rare: np.ndarray) -> Oddness:
    return Oddness(((one.x - one.recon) ** 2).sum(1), rarity(one.acts, rare))
