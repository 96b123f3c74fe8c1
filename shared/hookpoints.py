"""Hookpoints: names of modules, `NAME` for the output and `NAME:in` for the input, and hooks that see or change it."""

import difflib
from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from shared.errors import UserError

INPUT = ":in"

See = Callable[[Tensor | None], Tensor | None]
"""Gets a hookpoint's activations; what it returns, unless that is None, takes their place in the forward."""


class Hookpoint(NamedTuple):
    """A hookpoint found in a model; `name` as the user wrote it."""

    name: str
    module: nn.Module
    is_input: bool


def find_hookpoint(model: nn.Module, name: str, model_name: str) -> Hookpoint:
    """The module that `name` means, with or without the base model's prefix. Raises UserError if it is not there."""
    modules = {path: module for path, module in model.named_modules() if path}
    prefix = getattr(model, "base_model_prefix", "") + "."
    path = name.removesuffix(INPUT)
    spelled = next((one for one in (path, prefix + path, path.removeprefix(prefix)) if one in modules), None)
    if spelled is None:
        near = difflib.get_close_matches(path, modules, n=2, cutoff=0.3) or list(modules)[:2]
        raise UserError(f"there is no module {path!r} in {model_name}; nearest: {', '.join(near)}")
    return Hookpoint(name, modules[spelled], name.endswith(INPUT))


def hook(hookpoint: Hookpoint, see: See) -> RemovableHandle:
    """Calls `see` whenever a forward reaches the hookpoint, with None if there is no floating-point tensor."""
    if hookpoint.is_input:

        def before(_: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict] | None:
            seen = see(first_tensor((*args, *kwargs.values())))
            if seen is None:
                return None
            if first_tensor(args) is not None:
                return with_first_tensor(args, seen), kwargs
            return args, with_first_tensor(kwargs, seen)

        return hookpoint.module.register_forward_pre_hook(before, with_kwargs=True)

    def after(_: nn.Module, args: tuple, output: Any) -> Any:
        seen = see(first_tensor(output))
        return None if seen is None else with_first_tensor(output, seen)

    return hookpoint.module.register_forward_hook(after)


def first_tensor(value: Any) -> Tensor | None:
    """`value`, or the first of its items that is a floating-point tensor."""
    if isinstance(value, Tensor):
        return value
    items = value.values() if isinstance(value, dict) else value if isinstance(value, tuple | list) else ()
    return next((item for item in items if _is_activations(item)), None)


def with_first_tensor(value: Any, tensor: Tensor) -> Any:
    """`value` with `tensor` in the place of its `first_tensor`; neither `value` nor its items are changed."""
    if isinstance(value, Tensor):
        return tensor
    if isinstance(value, dict):
        name = next(name for name, item in value.items() if _is_activations(item))
        return type(value)(**{**value, name: tensor})
    place = next(place for place, item in enumerate(value) if _is_activations(item))
    items = [*value[:place], tensor, *value[place + 1 :]]
    return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)


def _is_activations(item: Any) -> bool:
    return isinstance(item, Tensor) and item.is_floating_point()
