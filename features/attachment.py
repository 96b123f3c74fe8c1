"""An SAE inside a `transformers` model: its reconstruction takes the place of what it was trained on.

`attach` puts it there, by hooks alone, and `detach` takes it away; the model's own weights and code stay as they are.
"""

from collections.abc import Sequence
from weakref import WeakKeyDictionary

from torch import Tensor, nn

from features.attached import Attached, Dictionary, Edit, checked_rows
from features.attached_crosscoder import AttachedCrosscoder, SeveralSources
from shared.errors import UserError
from shared.hookpoints import Hookpoint, find_hookpoint, hook


class AttachedSae(Attached):
    """acts = encode(x);  y' = recon(edit(acts)), and + (y - recon(acts)), a constant to gradients, to keep the error.

    y is what stood where y' goes: x itself, or for a transcoder the module's output. Where a module runs several times
    in one forward each run is replaced, and `acts` are the last's.
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
        super().__init__(sae, keep_error, excluded, edit)
        self._source, self._target = source, target
        self._x: Tensor | None = None
        self._handles = [hook(source, self._read), hook(target, self._write)]

    def _read(self, x: Tensor | None) -> None:
        x = checked_rows(self._source, x, self.sae)
        self._x = x.to(next(self.sae.parameters()).dtype)
        self.acts = self._encode(self._x, self._source.name)

    def _write(self, y: Tensor | None) -> Tensor:
        x, acts = self._x, self.acts
        assert x is not None and acts is not None and y is not None
        self._x = None
        recon = self._replaced(x, acts, y)
        if recon.shape != y.shape:
            raise UserError(
                f"{self._target.name} gives vectors of {y.shape[-1]} values and the SAE reconstructs {recon.shape[-1]}"
            )
        return self._put(recon, y, self._source.name)


def attach(
    model: nn.Module,
    sae: Dictionary,
    hookpoint: str | Sequence[str],
    keep_error: bool = False,
    *,
    output: str | None = None,
    excluded: Tensor | None = None,
    edit: Edit | None = None,
) -> Attached:
    """Makes every forward of `model` go through `sae` at `hookpoint`, until `detach`.

    Args:
        hookpoint: a module's name, or `NAME:in` for its input, as in a job file; of a crosscoder all of its hookpoints,
            in order (each forward then runs the model twice).
        keep_error: add what the SAE does not reconstruct, so that without `edit` the model computes what it always did.
        output: the hookpoint whose activations are replaced, for a transcoder; by default `hookpoint`.
        excluded: bool [contexts, tokens], True for positions left as they are (padding, BOS). Later positions, of a
            generation that goes on from there with a cache or without, are not excluded.
        edit: a change of the activations before they are decoded, such as to steer or to ablate.
    Raises:
        UserError: no such module, or several for what is no crosscoder of so many; or, in a forward, widths or devices
            that do not fit.
    """
    name = type(model).__name__
    attached: Attached
    if isinstance(hookpoint, str):
        source = find_hookpoint(model, hookpoint, name)
        target = source if output is None else find_hookpoint(model, output, name)
        attached = AttachedSae(sae, source, target, keep_error, excluded, edit)
    else:
        sources = [find_hookpoint(model, one, name) for one in hookpoint]
        attached = AttachedCrosscoder(model, several(sae, hookpoint, output), sources, keep_error, excluded, edit)
    still = [one for one in _ATTACHED.get(model, []) if one.is_attached]
    _ATTACHED[model] = [*still, attached]
    return attached


def several(sae: Dictionary, hookpoints: Sequence[str], output: str | None) -> SeveralSources:
    """`sae`, as one of these hookpoints. Raises UserError if it is another, or if `output` is given."""
    widths = getattr(sae, "source_widths", None)
    if output is not None:
        raise UserError(f"output is for transcoders, and here are several hookpoints: {', '.join(hookpoints)}")
    if widths is None:
        raise UserError(f"several hookpoints are for crosscoders, and this is a {type(sae).__name__}: give one")
    if len(widths) != len(hookpoints):
        raise UserError(f"the crosscoder reads {len(widths)} hookpoints, and these are {len(hookpoints)}")
    return sae  # type: ignore[return-value]


def detach(model: nn.Module) -> None:
    """Takes every SAE out of `model` that `attach` has put there."""
    for attached in _ATTACHED.pop(model, []):
        attached.detach()


_ATTACHED: WeakKeyDictionary[nn.Module, list[Attached]] = WeakKeyDictionary()
"""What `detach` has to take away; a model that nobody holds any more leaves it by itself."""
