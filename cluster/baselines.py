"""What a reconstruction in place is held against: the model as it is, and with zeros or means in place.

None of that depends on an SAE, only on which hookpoints it replaces: measured once, it serves all of them.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from producers.held_out import ContextBatch, HeldOutText
from producers.predictions import CleanPredictions, PredictionSums
from producers.spliced_model import SplicedModel

Targets = tuple[str, ...]


class Baseline(NamedTuple):
    """Over the whole text, for one set of hookpoints."""

    clean: PredictionSums
    zero: PredictionSums
    """With zeros in place of every row."""
    mean: PredictionSums
    """With the mean of all rows in place of every row."""


@torch.inference_mode()
def measure_baselines(
    model: SplicedModel, text: HeldOutText, contexts: int, wanted: Iterable[Targets], on_step: Callable[[], None]
) -> dict[Targets, Baseline]:
    """The baseline of each of `wanted`; `contexts` at a time, `on_step` after each time."""
    means = _means(model, text, contexts)
    found = dict.fromkeys(wanted, Baseline(PredictionSums(), PredictionSums(), PredictionSums()))
    for batch in text.batches(contexts):
        forward = model.clean(*batch)
        assert forward.logits is not None, model.no_logits
        predictions = CleanPredictions(forward.logits, *batch)
        for targets, before in found.items():
            rows = {name: forward.rows[name] for name in targets}
            zeros = {name: torch.zeros_like(values) for name, values in rows.items()}
            mean = {name: means[name].to(values).expand_as(values) for name, values in rows.items()}
            with_zeros, with_means = (predictions.against(model.spliced(*batch, one)) for one in (zeros, mean))
            now = Baseline(predictions.sums, with_zeros, with_means)
            found[targets] = Baseline(*(a + b for a, b in zip(before, now, strict=True)))
        on_step()
    return found


def _means(model: SplicedModel, text: HeldOutText, contexts: int) -> dict[str, Tensor]:
    """hookpoint -> [width], float64, over all rows: a pass that ends at the last hookpoint."""
    sums: dict[str, Tensor] = {}
    for batch in text.batches(contexts):
        _add_rows(model, batch, sums)
    return {name: total / text.num_rows for name, total in sums.items()}


def _add_rows(model: SplicedModel, batch: ContextBatch, sums: dict[str, Tensor]) -> None:
    def add(name: str, activations: Tensor) -> None:
        total = activations[batch.kept.to(activations.device)].sum(0, dtype=torch.float64)
        sums[name] = sums[name] + total if name in sums else total

    model.run(batch.token_ids, batch.attention_mask, add)
