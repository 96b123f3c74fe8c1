"""What every SAE inside a model has: its hooks until `detach`, its last activations, what may be changed meanwhile."""

from collections.abc import Callable
from typing import Any, Protocol, Self

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from shared.errors import UserError
from shared.hookpoints import Hookpoint

Edit = Callable[[Tensor], Tensor]
"""Takes activations [..., num_latents] and gives those that are decoded instead; must not change what it takes."""


class Dictionary(Protocol):
    """What can be attached; `trainers.load_sae` gives one."""

    d_in: int

    def encode(self, x: Tensor) -> Tensor: ...

    def reconstruct_raw(self, x: Tensor, acts: Tensor) -> Tensor:
        """The reconstruction of raw rows `x` by activations, their own or others."""
        ...

    def parameters(self) -> Any: ...


class Attached:
    """A context manager: leaving it detaches."""

    def __init__(self, sae: Dictionary, keep_error: bool, excluded: Tensor | None, edit: Edit | None) -> None:
        self.sae = sae
        self.excluded = excluded
        """May be changed between forwards; see `attach`."""
        self.edit = edit
        """May be changed between forwards; see `attach`."""
        self.acts: Tensor | None = None
        """Of the last forward, before `edit`: [contexts, tokens, num_latents], in the SAE's dtype; 0 where excluded."""
        self._keep_error = keep_error
        self._handles: list[RemovableHandle] = []

    def detach(self) -> None:
        """Takes the SAE out of the model; what it has read stays in `acts`."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    @property
    def is_attached(self) -> bool:
        return bool(self._handles)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.detach()

    def _encode(self, x: Tensor, name: str) -> Tensor:
        """Activations of `x` [contexts, tokens, d_in] at the hookpoint of that name."""
        acts, excluded = self.sae.encode(x), excluded_among(self.excluded, x, name)
        return acts if excluded is None else acts.masked_fill(excluded, 0)

    def _replaced(self, x: Tensor, acts: Tensor, y: Tensor) -> Tensor:
        """What takes the place of `y`, which the SAE reconstructs from `x`; excluded positions not seen to."""
        recon = self.sae.reconstruct_raw(x, acts if self.edit is None else self.edit(acts))
        if recon.shape != y.shape or not self._keep_error:
            return recon
        return recon + (y - self.sae.reconstruct_raw(x, acts)).detach()

    def _put(self, recon: Tensor, y: Tensor, name: str) -> Tensor:
        """`recon` in the dtype of `y`, and `y` where it is excluded."""
        excluded = excluded_among(self.excluded, y, name)
        return (recon if excluded is None else torch.where(excluded, y, recon)).to(y.dtype)


def checked_rows(hookpoint: Hookpoint, x: Tensor | None, sae: Dictionary, width: int | None = None) -> Tensor:
    """`x`, what stands at `hookpoint`. Raises UserError if it is not what `sae` reads there, or on another device.

    Args:
        width: of what `sae` reads there, where that is not the whole of a row.
    """
    width = sae.d_in if width is None else width
    if x is None:
        raise UserError(f"{hookpoint.name} gives no tensor")
    if x.shape[-1] != width:
        raise UserError(f"{hookpoint.name} gives vectors of {x.shape[-1]} values and the SAE reads vectors of {width}")
    device = next(sae.parameters()).device
    if device != x.device:
        raise UserError(
            f"{hookpoint.name} is on {x.device} and the SAE on {device}; move it: sae.to({str(x.device)!r})"
        )
    return x


def excluded_among(excluded: Tensor | None, x: Tensor, name: str) -> Tensor | None:
    """Which of the vectors `x` [contexts, tokens, width] are excluded, [contexts, tokens, 1]; None: none."""
    if excluded is None:
        return None
    mask = excluded.to(x.device)
    contexts, tokens = mask.shape
    if x.ndim == 2 and len(x) == mask.numel():
        return mask.reshape(-1, 1)
    if x.ndim != 3 or len(x) != contexts or 1 < x.shape[1] < tokens:
        raise UserError(f"excluded has shape {list(mask.shape)} and {name} gives {list(x.shape)}")
    if x.shape[1] == 1 < tokens:
        return None
    return nn.functional.pad(mask, (0, x.shape[1] - tokens)).unsqueeze(-1)
