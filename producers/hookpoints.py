"""Hooks that catch the activations of a job's hookpoints and then stop the forward."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from shared.errors import UserError
from shared.hookpoints import Hookpoint, find_hookpoint, hook

Sink = Callable[[str, Tensor], None]
"""What takes a hookpoint's name and its activations, [contexts, tokens, width], while the forward is running."""


class Caught(Exception):
    """Every hookpoint has been reached: the rest of the forward is not needed."""


def find_hookpoints(model: nn.Module, names: Sequence[str], model_name: str) -> list[Hookpoint]:
    """The modules that the job's `names` mean. Raises UserError if one is not there."""
    try:
        return [find_hookpoint(model, name, model_name) for name in names]
    except UserError as error:
        raise UserError(f"model.hookpoints: {error}") from None


class Hooks:
    """Hooks on `hookpoints` that stop the forward, by an exception, once each of them has been reached.

    Protocol: `begin(sink)`, then one forward, which ends in `Caught` or leaves `missed` hookpoints. The sink is called
    inside the forward: what it copies cannot be changed any more by layers that work in place.
    """

    def __init__(self, hookpoints: Sequence[Hookpoint]) -> None:
        self._names = [hookpoint.name for hookpoint in hookpoints]
        self._waiting: set[str] = set()
        self._sink: Sink | None = None
        self._handles = [self._register(hookpoint) for hookpoint in hookpoints]

    def begin(self, sink: Sink) -> None:
        """Makes the next forward give its activations to `sink`."""
        self._waiting = set(self._names)
        self._sink = sink

    @property
    def missed(self) -> list[str]:
        """Hookpoints that the forward has not reached."""
        return [name for name in self._names if name in self._waiting]

    def remove(self) -> None:
        for handle in self._handles:
            handle.remove()

    def _register(self, hookpoint: Hookpoint) -> RemovableHandle:
        def see(activations: Tensor | None) -> None:
            self._reach(hookpoint.name, activations)

        return hook(hookpoint, see)

    def _reach(self, name: str, activations: Tensor | None) -> None:
        """Passes on what a hookpoint gives the first time; a module that runs again (shared layers) gives no more."""
        if self._sink is None or name not in self._waiting:
            return
        if activations is None:
            raise UserError(f"model.hookpoints: {name} gives no tensor")
        self._waiting.discard(name)
        self._sink(name, activations)
        if not self._waiting:
            self._sink = None
            raise Caught


def by_context(name: str, activations: Tensor, shape: torch.Size) -> Tensor:
    """Activations as [contexts, tokens, width]; some modules flatten the first two. Raises UserError for others."""
    if activations.ndim == 3 and activations.shape[:2] == shape:
        return activations
    if activations.ndim == 2 and len(activations) == shape.numel():
        return activations.unflatten(0, tuple(shape))
    raise UserError(
        f"model.hookpoints: {name} gives a tensor of shape {list(activations.shape)} for {shape[0]} contexts of "
        f"{shape[1]} tokens; it must have one vector for each token"
    )
