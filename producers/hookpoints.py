"""Hookpoints: names of modules, `NAME` for the output and `NAME:in` for the input, and the hooks that catch them."""

import difflib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from shared.errors import UserError

INPUT = ":in"

Sink = Callable[[str, Tensor], None]
"""What takes a hookpoint's name and its activations, [contexts, tokens, width], while the forward is running."""


class Caught(Exception):
    """Every hookpoint has been reached: the rest of the forward is not needed."""


class Hookpoint(NamedTuple):
    """A hookpoint found in a model; `name` as the job writes it."""

    name: str
    module: nn.Module
    is_input: bool


def find_hookpoints(model: nn.Module, names: Sequence[str], model_name: str) -> list[Hookpoint]:
    """The modules that `names` mean, with or without the base model's prefix. Raises UserError if one is not there."""
    modules = {name: module for name, module in model.named_modules() if name}
    prefix = getattr(model, "base_model_prefix", "") + "."
    found = []
    for name in names:
        path = name.removesuffix(INPUT)
        spelled = next((one for one in (path, prefix + path, path.removeprefix(prefix)) if one in modules), None)
        if spelled is None:
            near = difflib.get_close_matches(path, modules, n=2, cutoff=0.3) or list(modules)[:2]
            raise UserError(
                f"model.hookpoints: there is no module {path!r} in {model_name}; nearest: {', '.join(near)}"
            )
        found.append(Hookpoint(name, modules[spelled], name.endswith(INPUT)))
    return found


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
        if hookpoint.is_input:

            def before(_: nn.Module, args: tuple, kwargs: dict) -> None:
                self._reach(hookpoint.name, first_tensor((*args, *kwargs.values())))

            return hookpoint.module.register_forward_pre_hook(before, with_kwargs=True)

        def after(_: nn.Module, args: tuple, output: Any) -> None:
            self._reach(hookpoint.name, first_tensor(output))

        return hookpoint.module.register_forward_hook(after)

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


def first_tensor(value: Any) -> Tensor | None:
    """`value`, or the first of its items that is a floating-point tensor."""
    if isinstance(value, Tensor):
        return value
    items = value.values() if isinstance(value, dict) else value if isinstance(value, tuple | list) else ()
    return next((item for item in items if isinstance(item, Tensor) and item.is_floating_point()), None)


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
