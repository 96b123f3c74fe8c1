"""What a model is like, found out without its weights: hookpoints and memory can be checked before anything starts."""

import copy
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from producers.hookpoints import Caught, Hooks, by_context, find_hookpoints
from producers.pretrained import auto_class, load_config, max_positions, resolve_device, resolve_dtype, revision
from shared.config import ModelConfig
from shared.errors import UserError
from shared.hookpoints import Hookpoint

PROBE_SHAPE = (2, 3)
"""Contexts and tokens of the forward without numbers that finds the widths."""


class ModelFacts(NamedTuple):
    """A model as the job uses it."""

    widths: dict[str, int]
    """hookpoint -> values in one row."""
    dtype: str
    revision: str
    num_parameters: int
    weight_bytes: int
    vocab_size: int
    max_positions: int | None


def describe_model(model: ModelConfig, gpus: float = 0) -> ModelFacts:
    """The facts of `model` for producers that have `gpus`; reads its configuration only.

    Raises:
        UserError: no such model, or no such hookpoint in it; names the nearest.
    """
    config = load_config(model)
    dtype = resolve_dtype(model, resolve_device(model, gpus))
    skeleton = _skeleton(model, config, getattr(torch, dtype))
    parameters = list(skeleton.parameters())
    return ModelFacts(
        widths=_widths(skeleton, model, config.get_text_config().hidden_size),
        dtype=dtype,
        revision=revision(model, config),
        num_parameters=sum(parameter.numel() for parameter in parameters),
        weight_bytes=sum(parameter.nbytes for parameter in parameters),
        vocab_size=config.get_text_config().vocab_size,
        max_positions=max_positions(config),
    )


def forward_flops(model: ModelConfig, context_tokens: int) -> float:
    """FLOPs of one token of a forward on a full context, as far as the last hookpoint; attention is counted.

    A model that cannot run without numbers counts as 2 FLOPs for each of its parameters, all layers included.

    Raises:
        UserError: as `describe_model`.
    """
    skeleton = _skeleton(model, load_config(model), torch.float32)
    hookpoints = find_hookpoints(skeleton, model.hookpoints, model.name)
    with FlopCounterMode(display=False) as counter:
        reached = _probe(skeleton, hookpoints, (1, context_tokens))
    if len(reached) < len(hookpoints):
        return 2.0 * sum(parameter.numel() for parameter in skeleton.parameters())
    return counter.get_total_flops() / context_tokens


def _skeleton(model: ModelConfig, config: Any, dtype: torch.dtype) -> nn.Module:
    """The model on the meta device: shapes without numbers."""
    config = copy.deepcopy(config)
    config.pad_token_id = None  # transformers would look for it in the token ids, which have no values here
    with torch.device("meta"):
        skeleton = auto_class(config).from_config(config, dtype=dtype, trust_remote_code=model.trust_remote_code)
    return skeleton.eval()


def _widths(skeleton: nn.Module, model: ModelConfig, hidden_size: int) -> dict[str, int]:
    hookpoints = find_hookpoints(skeleton, model.hookpoints, model.name)
    widths = _probe(skeleton, hookpoints)
    return {name: widths.get(name, hidden_size) for name in model.hookpoints}


def _probe(skeleton: nn.Module, hookpoints: list[Hookpoint], shape: tuple[int, int] = PROBE_SHAPE) -> dict[str, int]:
    """The width at each hookpoint that a forward without numbers, on contexts and tokens of `shape`, reaches.

    Raises:
        UserError: the forward runs to its end and misses a hookpoint.
    """
    widths: dict[str, int] = {}

    def note(name: str, activations: Tensor) -> None:
        widths[name] = by_context(name, activations, torch.Size(shape)).shape[-1]

    hooks = Hooks(hookpoints)
    hooks.begin(note)
    try:
        with torch.device("meta"), torch.inference_mode():
            skeleton(input_ids=torch.zeros(shape, dtype=torch.long))
    except (Caught, UserError) as reached:
        if isinstance(reached, UserError):
            raise
    except Exception:  # Some models compute with values, which the meta device does not have: the caller falls back.
        return widths
    finally:
        hooks.remove()
    if hooks.missed:
        raise UserError(f"model.hookpoints: a forward does not reach {', '.join(hooks.missed)}")
    return widths
