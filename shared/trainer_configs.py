"""Every architecture that a job file can name, with its keys, and those from elsewhere. Imports no torch."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Union

from pydantic import ConfigDict, Discriminator, Field, Tag, model_validator

from shared.active_configs import BatchTopKConfig, MatryoshkaConfig, MultiTopKConfig, TopKConfig
from shared.coder_configs import CrosscoderConfig, TranscoderConfig
from shared.config_types import Text
from shared.penalty_configs import (
    GatedConfig,
    JumpReLUConfig,
    JumpReLUTanhConfig,
    KlConfig,
    PAnnealConfig,
    ReluL1Config,
    ReluL12023Config,
)
from shared.trainer_config import TrainerConfig


class OwnConfig(TrainerConfig):
    """An architecture from elsewhere: `package.module:Class`, where Class is a `trainers.objective.Objective`.

    Keys that are not among the shared ones are the class's own: it checks them by its `Config`.
    """

    model_config = ConfigDict(extra="allow")
    architecture: Annotated[Text, Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")]

    @model_validator(mode="after")
    def _numbers_are_finite(self) -> "OwnConfig":
        """As all of a job file's are: what stands in job.yaml must read as it was written."""
        for key, value in (self.model_extra or {}).items():
            if not _is_finite(value):
                raise ValueError(f"{key} must hold finite numbers, got {value!s:.60}")
        return self


def _is_finite(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(map(_is_finite, value.values()))
    if isinstance(value, list | tuple):
        return all(map(_is_finite, value))
    return not isinstance(value, float) or math.isfinite(value)


OWN = "package.module:Class"
TRAINER_CONFIGS: dict[str, type[TrainerConfig]] = {
    "topk": TopKConfig,
    "multi_topk": MultiTopKConfig,
    "batch_topk": BatchTopKConfig,
    "matryoshka": MatryoshkaConfig,
    "relu_l1": ReluL1Config,
    "relu_l1_2023": ReluL12023Config,
    "kl": KlConfig,
    "p_anneal": PAnnealConfig,
    "gated": GatedConfig,
    "jumprelu": JumpReLUConfig,
    "jumprelu_tanh": JumpReLUTanhConfig,
    "transcoder": TranscoderConfig,
    "skip_transcoder": TranscoderConfig,
    "crosscoder": CrosscoderConfig,
    OWN: OwnConfig,
}
"""Architecture -> its keys."""


def _tag(value: Any) -> str | None:
    """Which of `TRAINER_CONFIGS` a trainer of a job file is."""
    architecture = value.get("architecture") if isinstance(value, dict) else getattr(value, "architecture", None)
    if not isinstance(architecture, str):
        return None
    return OWN if ":" in architecture else architecture if architecture in TRAINER_CONFIGS else None


if TYPE_CHECKING:
    AnyTrainer = TrainerConfig
else:
    AnyTrainer = Annotated[
        Union[tuple(Annotated[kind, Tag(name)] for name, kind in TRAINER_CONFIGS.items())],  # noqa: UP007
        Discriminator(_tag),
    ]
"""Any of `TRAINER_CONFIGS`, told apart by `architecture`."""
