"""Features as OpenAI's sparse autoencoder viewer reads them: one JSON file for each latent (sae-viewer, 2024-06)."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from features.context import TOP, Context
from features.export_subject import ExportSubject
from features.linear_bins import in_equal_bins

BIN_WIDTH = 0.2
"""Of its histogram, whose bars are numbered."""


def openai_folder(subject: ExportSubject) -> Path:
    """`{model_id}/{trainer}`."""
    return Path(subject.model_id, subject.store.meta.trainer)


def export_openai(subject: ExportSubject, latents: Sequence[int], folder: Path) -> None:
    """Writes `atoms/{latent}.json` of each into `folder`."""
    (folder / "atoms").mkdir(parents=True, exist_ok=True)
    for latent in latents:
        (folder / "atoms" / f"{latent}.json").write_text(json.dumps(feature_info(subject, latent), allow_nan=False))


def feature_info(subject: ExportSubject, latent: int) -> dict[str, Any]:
    """Its FeatureInfo."""
    record, contexts = subject.store.record(latent), subject.store.contexts(latent)
    edges = np.arange(0, record.max_act + BIN_WIDTH, BIN_WIDTH)
    counts = in_equal_bins(record.histogram, np.array(subject.store.meta.histogram_edges), record.max_act, edges)
    return {
        "density": record.density,
        "mean_act": record.mean_act,
        "mean_act_squared": record.mean_act_squared,
        "skew": record.skew or 0.0,
        "kurtosis": record.kurtosis or 0.0,
        "hist": {str(place): int(counts[place]) for place in np.flatnonzero(counts)},
        "random": [_sequence(subject, one) for one in contexts if one.group != TOP],
        "top": [_sequence(subject, one) for one in contexts if one.group == TOP],
    }


def _sequence(subject: ExportSubject, context: Context) -> dict[str, Any]:
    """Its SequenceInfo."""
    return {
        "density": float((context.acts > 0).mean()),
        "doc_id": context.document,
        "idx": context.position - context.start,
        "act": float(context.max_act),
        "acts": context.acts.astype(float).tolist(),
        "tokens": subject.read(context.tokens),
        "token_ints": context.tokens.tolist(),
    }
