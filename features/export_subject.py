"""What an export of features has to know beside the store: how tokens read, and what others call things."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from features.store import FeatureStore


@dataclass(frozen=True)
class ExportSubject:
    """An SAE's features, and names for them."""

    store: FeatureStore
    tokens: Sequence[str]
    """How each token of the vocabulary reads."""
    model_id: str
    """Of the model, as the other side writes it: `gpt2-small`."""
    layer: int
    hook_name: str
    """TransformerLens' name of the hookpoint, or ours where it has none."""
    sae_set: str
    """What the SAEs of this run are called together."""

    def read(self, token_ids: np.ndarray) -> list[str]:
        return [self.tokens[one] for one in token_ids.tolist()]

    def range_edges(self, max_act: float, number: int) -> tuple[float, float]:
        """Between which activations the contexts of `bin<number>` lie, for a latent whose greatest is `max_act`."""
        edges = np.array(self.store.meta.histogram_edges)
        top = int(np.searchsorted(edges, max_act, side="right"))
        upper = top - 7 + number
        lower = 0.0 if number == 0 else float(edges[max(0, upper - 1)])
        return lower, min(max_act, float(edges[min(len(edges) - 1, max(0, upper))]))
