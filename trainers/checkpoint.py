"""A trainer's whole state on disk, so that going on from it equals never having stopped.

Held are weights, Adam's moments, what the objective measured, dead-latent counters, rows that wait for their batch,
metrics, cursor, counts and digests. Generators are not: after the start nothing draws.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from shared.digest import StreamDigest
from shared.errors import CheckpointError
from shared.files import replace_folder
from shared.trainer_config import TrainerConfig
from trainers.fvu import Sums
from trainers.state_folder import FACTS, read_state_folder, write_state_folder

if TYPE_CHECKING:
    from trainers.trainer import Trainer

FORMAT_VERSION = 3
COUNTS = ("cursor", "rows_read", "rows_trained", "steps", "scales", "gap_rows", "gaps")
FREE_TO_CHANGE = {"name", "hookpoint", "cpus", "gpus", "lag_policy"}
"""Keys of a trainer's configuration that leave its weights as they are."""


def save_trainer(trainer: "Trainer", folder: Path) -> None:
    """Writes the trainer's state as `folder`, whole and durable when this returns."""
    with replace_folder(folder) as temporary:
        write_state_folder(temporary, _facts(trainer), _tensors(trainer))


def open_trainer(folder: Path, config: TrainerConfig) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The facts and tensors that `save_trainer` wrote.

    Raises:
        CheckpointError: damaged, of another format version, or of a trainer that `config` does not describe.
    """
    facts, tensors = read_state_folder(folder)
    if facts.get("format_version") != FORMAT_VERSION:
        version = facts.get("format_version")
        raise CheckpointError(f"{folder / FACTS} has format version {version}, this Headrace reads {FORMAT_VERSION}")
    for key, value in _decisive(config).items():
        if facts["config"].get(key) != value:
            raise CheckpointError(f"{folder} was saved with {key} {facts['config'].get(key)!r}, now it is {value!r}")
    return facts, tensors


def restore_trainer(trainer: "Trainer", facts: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    """Puts a trainer that was just made into the saved state."""
    for name in COUNTS:
        setattr(trainer, name, facts[name])
    trainer.digest = StreamDigest(**facts["digest"])
    for prefix, module in _modules(trainer).items():
        module.load_state_dict(_below(prefix, tensors))
    _restore_adam(trainer, tensors)
    trainer.batches.waiting = tensors["waiting"]
    buckets = [Sums(x_sum=x_sum, **bucket) for x_sum, bucket in zip(tensors["window"], facts["window"], strict=True)]
    trainer.window.filling = buckets.pop()
    trainer.window.full.extend(buckets)


def _facts(trainer: "Trainer") -> dict[str, Any]:
    return {
        "format_version": FORMAT_VERSION,
        "config": trainer.config.model_dump(mode="json"),
        "widths": trainer.widths,
        "seed": trainer.seed,
        "total_rows": trainer.total_rows,
        **{name: getattr(trainer, name) for name in COUNTS},
        "digest": {"addresses": trainer.digest.addresses, "bits": trainer.digest.bits},
        "window": [_scalars(bucket) for bucket in _buckets(trainer)],
    }


def _tensors(trainer: "Trainer") -> dict[str, Tensor]:
    tensors = {"waiting": trainer.batches.waiting, "window": torch.stack([one.x_sum for one in _buckets(trainer)])}
    for prefix, module in _modules(trainer).items():
        tensors |= {f"{prefix}.{name}": tensor for name, tensor in module.state_dict().items()}
    for name, parameter in trainer.objective.named_parameters():
        moments = trainer.optimiser.state.get(parameter, {})
        tensors |= {f"adam.{name}.{key}": moment for key, moment in moments.items()}
    return tensors


def _restore_adam(trainer: "Trainer", tensors: dict[str, Tensor]) -> None:
    for name, parameter in trainer.objective.named_parameters():
        moments = _below(f"adam.{name}", tensors)
        if moments:
            trainer.optimiser.state[parameter] = {key: value.to(trainer.device) for key, value in moments.items()}


def _decisive(config: TrainerConfig) -> dict[str, Any]:
    return {key: value for key, value in config.model_dump(mode="json").items() if key not in FREE_TO_CHANGE}


def _modules(trainer: "Trainer") -> dict[str, nn.Module]:
    modules = {"objective": trainer.objective, "firing": trainer.firing, "accumulation": trainer.accumulation}
    return modules if trainer.ema is None else {**modules, "ema": trainer.ema}


def _buckets(trainer: "Trainer") -> list[Sums]:
    return [*trainer.window.full, trainer.window.filling]


def _scalars(bucket: Sums) -> dict[str, Any]:
    return {name: value for name, value in vars(bucket).items() if name != "x_sum"}


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(f"{prefix}."): value for name, value in tensors.items() if name.startswith(f"{prefix}.")}
