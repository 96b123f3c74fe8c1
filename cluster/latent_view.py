"""One latent as people see it, on its page and in the terminal. Pure but for reading the store."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from cluster.catalog_query import NUMBERS, Said, spoken
from cluster.vocabulary import Vocabulary
from features.context import BINS, TOP, Context
from features.explanations import Explanation, Score
from features.histogram import half_octave
from features.labels import Label
from features.store import FeatureStore, LatentRecord, Neighbor

RANDOM = "random"
NUM_RANDOM = 10
"""Contexts that are shown as a random draw of all firings."""
SHOWN_TOKENS = 3
"""Promoted tokens that tell a neighbour."""


def latent_view(store: FeatureStore, latent: int, vocabulary: Vocabulary) -> dict[str, Any]:
    """All that the store knows of it."""
    record = store.record(latent)
    return {
        "latent": latent,
        "num_latents": store.meta.num_latents,
        "numbers": {name: getattr(record, name) for name in NUMBERS},
        "dead": record.dead,
        "histogram": histogram(record, store.meta.histogram_edges),
        "promoted": _tokens(record.promoted_ids, record.promoted_values, vocabulary),
        "suppressed": _tokens(record.suppressed_ids, record.suppressed_values, vocabulary),
        "groups": groups(store.contexts(latent), record, store.meta.histogram_edges, vocabulary),
    }


def histogram(record: LatentRecord, edges: Sequence[float]) -> dict[str, Any]:
    """The bins from the first in which it fires to the last; edges are one more than counts."""
    filled = np.flatnonzero(record.histogram)
    if len(filled) == 0:
        return {"edges": [], "counts": []}
    first, last = int(filled[0]), int(filled[-1])
    return {"edges": list(edges[first : last + 2]), "counts": record.histogram[first : last + 1].tolist()}


def groups(
    contexts: Sequence[Context], record: LatentRecord, edges: Sequence[float], vocabulary: Vocabulary
) -> list[dict[str, Any]]:
    """Top contexts, a random draw of all firings, and those of each range with its bounds, the strongest first."""
    by_group: dict[str, list[Context]] = {}
    for one in contexts:
        by_group.setdefault(one.group, []).append(one)
    shares = bin_shares(record, edges)
    found = [_group(TOP, by_group.get(TOP, []), vocabulary)]
    found.append(_group(RANDOM, random_draw(by_group, shares), vocabulary))
    for name in reversed(BINS):
        if name in by_group:
            low, high = bounds(name, record.max_act)
            range_ = {"low": low, "high": high, "share": shares.get(name)}
            found.append({**_group(name, by_group[name], vocabulary), **range_})
    return [one for one in found if one["contexts"]]


def bounds(name: str, max_act: float) -> tuple[float, float]:
    """Of a range of activation: the half-octave that holds the greatest, and those below; the first is all the rest."""
    number = BINS.index(name)
    half = int(half_octave(np.array([max_act], np.float32))[0]) - (len(BINS) - 1 - number)
    return (0.0 if number == 0 else 2 ** (half / 2)), min(2 ** ((half + 1) / 2), max_act)


def bin_shares(record: LatentRecord, edges: Sequence[float]) -> dict[str, float]:
    """The share of firings in each range, by the histogram, whose bins are half-octaves too."""
    total = float(record.histogram.sum())
    if total == 0:
        return {}
    below = np.concatenate([[0.0], np.cumsum(record.histogram)]) / total
    marks = np.array([max(bounds(name, record.max_act)[0], edges[0]) for name in BINS])
    at = np.interp(np.log2(marks), np.log2(edges), below)
    at[0] = 0.0
    return dict(zip(BINS, np.diff(np.append(at, 1.0)).tolist(), strict=True))


def random_draw(by_group: Mapping[str, Sequence[Context]], shares: Mapping[str, float]) -> list[Context]:
    """Contexts of each range in proportion to its share of the firings; what is drawn of a range is random already."""
    wanted = {name: NUM_RANDOM * shares.get(name, 0.0) for name in BINS}
    number = {name: min(int(share), len(by_group.get(name, []))) for name, share in wanted.items()}
    rest = sorted(BINS, key=lambda name: wanted[name] - int(wanted[name]), reverse=True)
    for name in rest:
        if sum(number.values()) < NUM_RANDOM and number[name] < len(by_group.get(name, [])) and wanted[name] > 0:
            number[name] += 1
    drawn = [one for name in BINS for one in by_group.get(name, [])[: number[name]]]
    return sorted(drawn, key=lambda one: (one.document * 2654435761 + one.position) % 2**32)


def context_view(one: Context, vocabulary: Vocabulary) -> dict[str, Any]:
    """`at` is the place of the strongest token in the window."""
    return {
        "document": one.document,
        "position": one.position,
        "at": one.position - one.start,
        "split": one.split,
        "max_act": one.max_act,
        "tokens": vocabulary.spell(one.tokens.tolist()),
        "ids": one.tokens.tolist(),
        "acts": np.round(one.acts.astype(float), 4).tolist(),
    }


def neighbors_view(
    found: Mapping[str, Sequence[Neighbor]],
    latent: int,
    own: str,
    others: Mapping[str, tuple[FeatureStore, Said]],
    vocabulary: Vocabulary,
) -> list[dict[str, Any]]:
    """By SAE, this one first, then by size; of those whose features are here with what tells them."""
    trainers = sorted(found, key=lambda name: (name != own, others[name][0].meta.num_latents if name in others else 0))
    return [
        {
            "sae": name,
            "num_latents": others[name][0].meta.num_latents if name in others else None,
            "latents": [
                {"latent": one.latent, "cosine": one.cosine, **_told(others.get(name), one.latent, vocabulary)}
                for one in found[name]
                if (name, one.latent) != (own, latent)
            ],
        }
        for name in trainers
    ]


def said_view(
    history: Sequence[Label], label: Label | None, explanations: Sequence[Explanation], scores: Sequence[Score]
) -> dict[str, Any]:
    """Labels, and explanations with every example that was judged."""
    judged: dict[str, list[dict[str, Any]]] = {}
    for score in scores:
        judged.setdefault(score.explanation, []).append(asdict(score))
    told = [{"id": one.id, **asdict(one), "scores": judged.pop(one.id, [])} for one in explanations]
    return {
        "label": asdict(label) if label else None,
        "history": [asdict(one) for one in reversed(history)],
        "explanations": told,
        "other_scores": [one for several in judged.values() for one in several],
    }


def _told(other: tuple[FeatureStore, Said] | None, latent: int, vocabulary: Vocabulary) -> dict[str, Any]:
    if other is None or latent >= other[0].meta.num_latents:
        return {"label": "", "tags": [], "explanation": "", "promoted": []}
    ids = other[0].catalog.column("promoted_ids")[latent].as_py()
    return {**spoken(other[1], latent), "promoted": vocabulary.spell(ids[:SHOWN_TOKENS])}


def _group(name: str, contexts: Sequence[Context], vocabulary: Vocabulary) -> dict[str, Any]:
    return {"name": name, "contexts": [context_view(one, vocabulary) for one in contexts]}


def _tokens(ids: np.ndarray, values: np.ndarray, vocabulary: Vocabulary) -> list[dict[str, Any]]:
    texts = vocabulary.spell(ids.tolist())
    return [{"token": text, "value": value} for text, value in zip(texts, values.tolist(), strict=True)]
