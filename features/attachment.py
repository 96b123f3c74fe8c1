"""An SAE inside a `transformers` model: its reconstruction takes the place of what it was trained on.

`attach` puts it there, by hooks alone, and `detach` takes it away; the model's own weights and code stay as they are.
"""

from collections.abc import Callable
from typing import Any, Protocol
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from shared.errors import UserError
from shared.hookpoints import Hookpoint, find_hookpoint, hook

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
    """acts = encode(x);  y' = recon(edit(acts)), and + (y - recon(acts)), a constant to gradients, to keep the error.

    y is what stood where y' goes: x itself, or for a transcoder the module's output. A context manager: leaving it
    detaches. Where a module runs several times in one forward each run is replaced, and `acts` are the last's.
    """

    def __init__(
        self,
        sae: Dictionary,
        source: Hookpoint,
        target: Hookpoint,
        keep_error: bool,
        excluded: Tensor | None,
        edit: Edit | None,
    ) -> None:
        self.sae = sae
        self.excluded = excluded
        """May be changed between forwards; see `attach`."""
        self.edit = edit
        """May be changed between forwards; see `attach`."""
        self.acts: Tensor | None = None
        """Of the last forward, before `edit`: [contexts, tokens, num_latents], in the SAE's dtype; 0 where excluded."""
        self._source, self._target, self._keep_error = source, target, keep_error
        self._x: Tensor | None = None
        self._handles = [hook(source, self._read), hook(target, self._write)]

    def detach(self) -> None:
        """Takes the SAE out of the model; what it has read stays in `acts`."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    @property
    def is_attached(self) -> bool:
        return bool(self._handles)

    def __enter__(self) -> "Attached":
        return self

    def __exit__(self, *_: object) -> None:
        self.detach()

    def _read(self, x: Tensor | None) -> None:
        x = checked_rows(self._source, x, self.sae)
        self._x = x.to(next(self.sae.parameters()).dtype)
        acts, excluded = self.sae.encode(self._x), self._excluded_among(x)
        self.acts = acts if excluded is None else acts.masked_fill(excluded, 0)

    def _write(self, y: Tensor | None) -> Tensor:
        x, acts = self._x, self.acts
        assert x is not None and acts is not None and y is not None
        self._x = None
        recon = self.sae.reconstruct_raw(x, acts if self.edit is None else self.edit(acts))
        if recon.shape != y.shape:
            raise UserError(
                f"{self._target.name} gives vectors of {y.shape[-1]} values and the SAE reconstructs {recon.shape[-1]}"
            )
        if self._keep_error:
            recon = recon + (y - self.sae.reconstruct_raw(x, acts)).detach()
        excluded = self._excluded_among(y)
        return (recon if excluded is None else torch.where(excluded, y, recon)).to(y.dtype)

    def _excluded_among(self, x: Tensor) -> Tensor | None:
        """Which of the vectors `x` [contexts, tokens, width] are excluded, [contexts, tokens, 1]."""
        if self.excluded is None:
            return None
        mask = self.excluded.to(x.device)
        contexts, tokens = mask.shape
        if x.ndim == 2 and len(x) == mask.numel():
            return mask.reshape(-1, 1)
        if x.ndim != 3 or len(x) != contexts or 1 < x.shape[1] < tokens:
            raise UserError(f"excluded has shape {list(mask.shape)} and {self._source.name} gives {list(x.shape)}")
        if x.shape[1] == 1 < tokens:
            return None
        return nn.functional.pad(mask, (0, x.shape[1] - tokens)).unsqueeze(-1)


def checked_rows(hookpoint: Hookpoint, x: Tensor | None, sae: Dictionary) -> Tensor:
    """`x`, what stands at `hookpoint`. Raises UserError if it is not what `sae` reads, or on another device."""
    if x is None:
        raise UserError(f"{hookpoint.name} gives no tensor")
    if x.shape[-1] != sae.d_in:
        raise UserError(
            f"{hookpoint.name} gives vectors of {x.shape[-1]} values and the SAE reads vectors of {sae.d_in}"
        )
    device = next(sae.parameters()).device
    if device != x.device:
        raise UserError(
            f"{hookpoint.name} is on {x.device} and the SAE on {device}; move it: sae.to({str(x.device)!r})"
        )
    return x


def attach(
    model: nn.Module,
    sae: Dictionary,
    hookpoint: str,
    keep_error: bool = False,
    *,
    output: str | None = None,
    excluded: Tensor | None = None,
    edit: Edit | None = None,
) -> Attached:
    """Makes every forward of `model` go through `sae` at `hookpoint`, until `detach`.

    Args:
        hookpoint: a module's name, or `NAME:in` for its input, as in a job file.
        keep_error: add what the SAE does not reconstruct, so that without `edit` the model computes what it always did.
        output: the hookpoint whose activations are replaced, for a transcoder; by default `hookpoint`.
        excluded: bool [contexts, tokens], True for positions left as they are (padding, BOS). Later positions, of a
            generation that goes on from there with a cache or without, are not excluded.
        edit: a change of the activations before they are decoded, such as to steer or to ablate.
    Raises:
        UserError: no such module; or, in a forward, widths or devices that do not fit.
    """
    name = type(model).__name__
    source = find_hookpoint(model, hookpoint, name)
    target = source if output is None else find_hookpoint(model, output, name)
    attached = Attached(sae, source, target, keep_error, excluded, edit)
    still = [one for one in _ATTACHED.get(model, []) if one.is_attached]
    _ATTACHED[model] = [*still, attached]
    return attached


def detach(model: nn.Module) -> None:
    """Takes every SAE out of `model` that `attach` has put there."""
    for attached in _ATTACHED.pop(model, []):
        attached.detach()


_ATTACHED: WeakKeyDictionary[nn.Module, list[Attached]] = WeakKeyDictionary()
"""What `detach` has to take away; a model that nobody holds any more leaves it by itself."""
