"""A crosscoder inside a model: it reads several hookpoints, and replaces all of them.

What stands at an earlier hookpoint depends on what is read at a later one, so the model runs twice in each forward:
first as it is, to read, then with the reconstructions. A cache is copied for the first.
"""

import copy
from collections.abc import Sequence
from functools import partial
from itertools import accumulate, pairwise
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from features.attached import Attached, Dictionary, Edit, checked_rows
from shared.errors import UserError
from shared.hookpoints import Hookpoint, hook

CACHE = "past_key_values"


class SeveralSources(Dictionary, Protocol):
    """What can be attached to several hookpoints: a dictionary whose rows are those side by side."""

    source_widths: tuple[int, ...]


class AttachedCrosscoder(Attached):
    """acts = encode(x);  y' = recon(edit(acts)), and + (x - recon(acts)), a constant to gradients, to keep the error.

    x are the hookpoints' activations side by side, in a forward without the crosscoder. With the error kept and without
    `edit` every hookpoint is what it was.
    """

    def __init__(
        self,
        model: nn.Module,
        sae: SeveralSources,
        hookpoints: Sequence[Hookpoint],
        keep_error: bool,
        excluded: Tensor | None,
        edit: Edit | None,
    ) -> None:
        super().__init__(sae, keep_error, excluded, edit)
        self._widths, self._hookpoints = sae.source_widths, tuple(hookpoints)
        edges = pairwise((0, *accumulate(sae.source_widths)))
        self._sources = [slice(*edge) for edge in edges]
        self._seen: list[Tensor | None] = []
        self._recon: Tensor | None = None
        self._is_reading = False
        self._handles = [model.register_forward_pre_hook(self._read_first, with_kwargs=True)]
        for place, hookpoint in enumerate(hookpoints):
            self._handles.append(hook(hookpoint, partial(self._visit, place)))

    def _read_first(self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Runs the model as it is, and makes of what it reads the reconstruction that the forward then gets."""
        if self._is_reading:
            return
        self._is_reading, self._seen = True, [None] * len(self._hookpoints)
        try:
            model(*args, **{**kwargs, CACHE: copy.deepcopy(kwargs[CACHE])} if kwargs.get(CACHE) else kwargs)
        finally:
            self._is_reading = False
        read = zip(self._hookpoints, self._seen, self._widths, strict=True)
        columns = [checked_rows(hookpoint, x, self.sae, width) for hookpoint, x, width in read]
        x = torch.cat(columns, dim=-1).to(next(self.sae.parameters()).dtype)
        self.acts = self._encode(x, self._hookpoints[0].name)
        self._recon = self._replaced(x, self.acts, x)

    def _visit(self, place: int, x: Tensor | None) -> Tensor | None:
        if self._is_reading:
            self._seen[place] = x
            return None
        name = self._hookpoints[place].name
        if self._recon is None or x is None:
            raise UserError(f"{name} was reached without the model that the crosscoder was attached to")
        return self._put(self._recon[..., self._sources[place]], x, name)
