"""Which tokens a direction makes likelier when it is written into the residual stream.

The direction w goes through the model's final norm as if it were the whole stream, its bias left out:
(norm(w) - norm(-w)) / 2, and then through the unembedding. So the norm's gain and centring are in, as they are where
TransformerLens has folded them into the unembedding; a unit is the logit of a stream that has nothing but w in it.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from features.catalog import Lens

BLOCK_VALUES = 2**25
"""Logits that are in memory at one time, 128 MiB."""
NORM_NAMES = ("ln_f", "final_layer_norm", "final_layernorm", "norm", "norm_f", "final_norm")
"""What transformers' models call the norm before the unembedding."""

Norm = Callable[[Tensor], Tensor]


@torch.inference_mode()
def logit_lens(directions: Tensor, unembedding: Tensor, norm: Norm | None, count: int = 10) -> Lens:
    """Strongest tokens of `directions` [L, D], by an unembedding [vocabulary, D] and what comes before it."""
    found = min(count, len(unembedding))
    step = max(1, BLOCK_VALUES // len(unembedding))
    promoted, suppressed = [], []
    for start in range(0, len(directions), step):
        part = directions[start : start + step].to(unembedding)
        seen = part if norm is None else (norm(part) - norm(-part)) / 2
        logits = (seen @ unembedding.T).float()
        promoted.append(torch.topk(logits, found, dim=1))
        suppressed.append(torch.topk(logits, found, dim=1, largest=False))
    return Lens(
        *(
            torch.cat([getattr(one, field) for one in side]).cpu().numpy().astype(kind)
            for side in (promoted, suppressed)
            for field, kind in (("indices", np.int32), ("values", np.float32))
        )
    )


def unembedding_of(model: nn.Module) -> Tensor | None:
    """[vocabulary, D]; None where the model has none."""
    head = getattr(model, "get_output_embeddings", lambda: None)()
    weight = getattr(head, "weight", None)
    return weight if isinstance(weight, Tensor) and weight.ndim == 2 else None


def final_norm(model: nn.Module) -> nn.Module | None:
    """The norm between the last layer and the unembedding; None where none is known by its name."""
    base = getattr(model, "base_model", model)
    for part in (base, getattr(base, "decoder", None)):
        children = dict(part.named_children()) if isinstance(part, nn.Module) else {}
        for name in NORM_NAMES:
            if name in children:
                return children[name]
    return None
