"""Trains an SAE on rows whose features are known, as a job's trainer would, and measures what would be saved."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from benchmarks.recovery import Recovery, measure
from benchmarks.synthetic import Truth
from shared.row_table import Rows
from shared.trainer_config import TrainerConfig
from trainers import Trainer, activation_scale
from trainers.sae import SparseAutoencoder

BLOCK_ROWS = 8192


def learn(
    configs: Sequence[TrainerConfig], sites: Mapping[str, Truth], total_rows: int, seed: int = 0
) -> list[SparseAutoencoder]:
    """The SAE of each configuration after the same `total_rows` rows, for raw rows.

    Args:
        sites: hookpoint -> its truth; all of the same features at the same time (`Truth.elsewhere`).
    """
    trainers = [_trainer(config, sites, total_rows, seed) for config in configs]
    for number in range(-(-total_rows // BLOCK_ROWS)):
        rows = min(BLOCK_ROWS, total_rows - number * BLOCK_ROWS)
        block = {name: truth.draw(number, rows).x for name, truth in sites.items()}
        for trainer in trainers:
            if number == 0:
                trainer.fix_scales(_scales(trainer, block))
            trainer.read(number, Rows(np.zeros((rows, 5), np.int32), block))
    for trainer in trainers:
        trainer.finish()
    return [trainer.exported() for trainer in trainers]


def _trainer(config: TrainerConfig, sites: Mapping[str, Truth], total_rows: int, seed: int) -> Trainer:
    widths = {name: sites[name].d_in for name in config.columns(tuple(sites))}
    return Trainer(config, widths, seed, total_rows)


def _scales(trainer: Trainer, block: Mapping[str, np.ndarray]) -> dict[str, float]:
    normalize = trainer.config.normalize
    return {name: activation_scale(torch.from_numpy(block[name]), normalize) for name in trainer.widths}


def recovered(
    sae: SparseAutoencoder, config: TrainerConfig, sites: Mapping[str, Truth], num_rows: int, together: bool = False
) -> Recovery:
    """What `sae` has found, over rows that it was not trained on; `together` as `measure` has it."""
    names = tuple(sites)
    return measure(
        sae,
        [sites[name] for name in config.inputs(names)],
        [sites[name] for name in config.targets(names)],
        num_rows,
        together,
    )
