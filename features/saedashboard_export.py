"""Features as SAEDashboard writes them for Neuronpedia: batch-N.json of 128 latents each (decoderesearch, 0.8.0).

Tables that it computes from the model's neurons are empty lists here, as where it has not computed them.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from features.context import BINS, TOP, Context
from features.export_subject import ExportSubject
from features.linear_bins import in_equal_bins
from features.store import LatentRecord

BATCH_LATENTS = 128
NUM_BARS = 50
NOT_COMPUTED = (
    "neuron_alignment_indices",
    "neuron_alignment_values",
    "neuron_alignment_l1",
    "correlated_neurons_indices",
    "correlated_neurons_l1",
    "correlated_neurons_pearson",
    "correlated_features_indices",
    "correlated_features_l1",
    "correlated_features_pearson",
    "logits_hist_data_bar_heights",
    "logits_hist_data_bar_values",
    "decoder_weights_dist",
    "vector",
)


def saedashboard_folder(subject: ExportSubject) -> Path:
    """`{trainer}/{model_id}_{sae_set}_{hook}_{num_latents}`: by itself that would not tell SAEs of one size apart."""
    meta = subject.store.meta
    return Path(meta.trainer, f"{subject.model_id}_{subject.sae_set}_{subject.hook_name}_{meta.num_latents}")


def export_saedashboard(subject: ExportSubject, latents: Sequence[int], folder: Path) -> None:
    """Writes those latents that fired into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    dead = set(np.flatnonzero(subject.store.catalog.column("dead").to_numpy(zero_copy_only=False)).tolist())
    common = {"model_id": subject.model_id, "layer": subject.layer, "sae_set": subject.sae_set}
    for number in sorted({latent // BATCH_LATENTS for latent in latents}):
        found = [one for one in latents if one // BATCH_LATENTS == number and one not in dead]
        batch = {**common, "sae_id_suffix": None, "features": [dashboard_feature(subject, one) for one in found]}
        (folder / f"batch-{number}.json").write_text(json.dumps(batch))
    skipped = {
        **common,
        "layer": str(subject.layer),
        "log_sparsity": None,
        "skipped_indexes": sorted(dead & {*latents}),
    }
    (folder / "skipped_indexes.json").write_text(json.dumps(skipped))
    (folder / "run_settings.json").write_text(json.dumps(_settings(subject)))


def dashboard_feature(subject: ExportSubject, latent: int) -> dict[str, Any]:
    """One entry of `features`."""
    record, meta = subject.store.record(latent), subject.store.meta
    edges = np.linspace(0, record.max_act, NUM_BARS + 1)
    heights = in_equal_bins(record.histogram, np.array(meta.histogram_edges), record.max_act, edges)
    return {
        "feature_index": latent,
        **{name: [] for name in NOT_COMPUTED},
        "neg_str": subject.read(record.suppressed_ids),
        "neg_values": rounded(record.suppressed_values),
        "pos_str": subject.read(record.promoted_ids),
        "pos_values": rounded(record.promoted_values),
        "frac_nonzero": record.density,
        "freq_hist_data_bar_values": rounded((edges[:-1] + edges[1:]) / 2),
        "freq_hist_data_bar_heights": heights.tolist(),
        "n_prompts_total": meta.contexts,
        "n_tokens_in_prompt": meta.context_tokens,
        "dataset": meta.source,
        "activations": [_activation(subject, one, record) for one in subject.store.contexts(latent)],
    }


def interval(subject: ExportSubject, context: Context, record: LatentRecord) -> tuple[float, float, float]:
    """Lowest and greatest activation of a context's group, and its share of all activations; -1 twice for the top."""
    if context.group == TOP:
        return -1.0, record.max_act, -1.0
    number = BINS.index(context.group)
    lower, upper = subject.range_edges(record.max_act, number)
    edges = np.array(subject.store.meta.histogram_edges)
    inside = (edges[:-1] >= lower) & (edges[:-1] < upper)
    if number == 0:
        inside |= edges[1:] <= upper
    return lower, upper, float(record.histogram[inside].sum() / max(1, record.fired))


def rounded(values: np.ndarray) -> list[float]:
    """With five places, as theirs."""
    return np.round(values.astype(np.float64), 5).tolist()


def _activation(subject: ExportSubject, context: Context, record: LatentRecord) -> dict[str, Any]:
    lower, upper, share = interval(subject, context, record)
    return {
        "bin_min": lower,
        "bin_max": upper,
        "bin_contains": share,
        "tokens": subject.read(context.tokens),
        "values": rounded(context.acts),
        "qualifying_token_index": context.position - context.start,
    }


def _settings(subject: ExportSubject) -> dict[str, Any]:
    meta = subject.store.meta
    return {
        "sae_set": subject.sae_set,
        "sae_path": meta.trainer,
        "n_prompts_total": meta.contexts,
        "n_tokens_in_prompt": meta.context_tokens,
        "n_features_at_a_time": BATCH_LATENTS,
        "dataset": meta.source,
        "written_by": "headrace",
    }
