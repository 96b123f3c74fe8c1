"""Every architecture by its name. A new one adds its module, its configuration and one line here."""

import importlib
import os
import sys
from collections.abc import Callable
from typing import Any

import torch
from pydantic import ValidationError

from shared.errors import UserError
from shared.refusal import refusal
from shared.trainer_config import TrainerConfig
from shared.trainer_configs import OwnConfig
from trainers.batch_topk import BatchTopKObjective
from trainers.crosscoder import crosscoder
from trainers.gated import GatedObjective
from trainers.jumprelu_l0 import JumpReLUObjective
from trainers.jumprelu_tanh import JumpReLUTanhObjective
from trainers.kl import KlObjective
from trainers.matryoshka import MatryoshkaObjective
from trainers.multi_topk import MultiTopKObjective
from trainers.objective import Objective
from trainers.p_anneal import PAnnealObjective
from trainers.relu_l1 import ReluL1Objective
from trainers.relu_l1_2023 import ReluL12023Objective
from trainers.topk import TopKObjective
from trainers.transcoder import transcoder

ARCHITECTURES: dict[str, Callable[[Any, tuple[int, ...], torch.Generator], Objective]] = {
    "topk": TopKObjective,
    "multi_topk": MultiTopKObjective,
    "batch_topk": BatchTopKObjective,
    "matryoshka": MatryoshkaObjective,
    "relu_l1": ReluL1Objective,
    "relu_l1_2023": ReluL12023Objective,
    "kl": KlObjective,
    "p_anneal": PAnnealObjective,
    "gated": GatedObjective,
    "transcoder": transcoder,
    "skip_transcoder": transcoder,
    "jumprelu": JumpReLUObjective,
    "jumprelu_tanh": JumpReLUTanhObjective,
    "crosscoder": crosscoder,
}


def make_objective(config: TrainerConfig, widths: tuple[int, ...], seed: int) -> Objective:
    """The architecture of `config` at its start; its weights are a function of config, widths and seed alone.

    Raises:
        UserError: an architecture from outside cannot be had, or refuses its keys.
    """
    generator = torch.Generator().manual_seed(seed)
    if isinstance(config, OwnConfig):
        kind = outside_class(config.architecture)
        return kind(checked(config, kind), widths, generator)  # type: ignore[call-arg, arg-type]
    return ARCHITECTURES[config.architecture](config, widths, generator)


def outside_class(architecture: str) -> type[Objective]:
    """The class that `package.module:Class` names. Raises UserError when there is no such class."""
    module_name, _, class_name = architecture.partition(":")
    if os.getcwd() not in sys.path:  # as `python -m` has it; an actor's process has not
        sys.path.insert(0, os.getcwd())
    try:
        found = getattr(importlib.import_module(module_name), class_name)
    except (ImportError, AttributeError) as error:
        raise UserError(f"architecture {architecture} cannot be had: {error}") from error
    if not (isinstance(found, type) and issubclass(found, Objective)):
        raise UserError(f"architecture {architecture} must be a class that extends trainers.objective.Objective")
    return found


def checked(config: OwnConfig, kind: type[Objective]) -> TrainerConfig:
    """The keys of an architecture from outside, as its own `Config` has them. Raises UserError for a wrong one."""
    try:
        return kind.Config.model_validate(config.model_dump())
    except ValidationError as error:
        raise UserError(f"trainer {config.name}: {refusal(error)}") from None
