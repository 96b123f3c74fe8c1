"""A latent's activation on texts that nobody has stored: the model runs on them with the SAE looking on."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from features.attachment import Dictionary, attach

TEXTS_AT_ONCE = 128


class LatentReader:
    """One SAE at its place in a causal model; nothing of what the model computes is changed."""

    def __init__(self, model: nn.Module, sae: Dictionary, hookpoint: str, prefix: Sequence[int]) -> None:
        """`prefix` are the special tokens that the model expects before text."""
        self._model, self._sae, self._hookpoint, self._prefix = model, sae, hookpoint, list(prefix)

    def at_end(self, latent: int, texts: Sequence[Sequence[int]]) -> np.ndarray:
        """Its activation at the last token of each of `texts` (token ids, at least one each), float32 [texts]."""
        parts = [texts[start : start + TEXTS_AT_ONCE] for start in range(0, len(texts), TEXTS_AT_ONCE)]
        return np.concatenate([np.zeros(0, np.float32), *(self._at_end(latent, part) for part in parts)])

    def _at_end(self, latent: int, texts: Sequence[Sequence[int]]) -> np.ndarray:
        framed = [torch.tensor([*self._prefix, *text]) for text in texts]
        ids = nn.utils.rnn.pad_sequence(framed, batch_first=True)
        ends = torch.tensor([len(one) - 1 for one in framed])
        mask = torch.arange(ids.shape[1]) <= ends[:, None]
        acts = self._acts(ids, mask)[torch.arange(len(texts)), ends, latent]
        return acts.float().cpu().numpy()

    @torch.no_grad()
    def _acts(self, ids: Tensor, mask: Tensor) -> Tensor:
        device = next(self._model.parameters()).device
        base = getattr(self._model, "base_model", self._model)
        with attach(self._model, self._sae, self._hookpoint, keep_error=True) as attached:
            base(input_ids=ids.to(device), attention_mask=mask.to(device))
        assert attached.acts is not None
        return attached.acts
