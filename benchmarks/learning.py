"""Trains an SAE on rows whose features are known, as a job's trainer would, and measures what would be saved."""

from collections.abc import Mapping

import numpy as np
import torch

from benchmarks.recovery import Recovery, measure
from benchmarks.synthetic import Truth
from shared.row_table import Rows
from shared.trainer_config import TrainerConfig
from trainers import Trainer, activation_scale
from trainers.sae import SparseAutoencoder

BLOCK_ROWS = 8192


def learn(config: TrainerConfig, sites: Mapping[str, Truth], total_rows: int, seed: int = 0) -> SparseAutoencoder:
    """The SAE of `config` after `total_rows` rows, for raw rows.

    Args:
        sites: hookpoint -> its truth; all of the same features at the same time (`Truth.elsewhere`).
    """
    columns = config.columns(tuple(sites))
    trainer = Trainer(config, {name: sites[name].d_in for name in columns}, seed, total_rows)
    for number in range(-(-total_rows // BLOCK_ROWS)):
        rows = min(BLOCK_ROWS, total_rows - number * BLOCK_ROWS)
        block = {name: sites[name].draw(number, rows).x for name in columns}
        if number == 0:
            scales = {name: activation_scale(torch.from_numpy(x), config.normalize) for name, x in block.items()}
            trainer.fix_scales(scales)
        trainer.read(number, Rows(np.zeros((rows, 5), np.int32), block))
    trainer.finish()
    return trainer.exported()


def recovered(sae: SparseAutoencoder, config: TrainerConfig, sites: Mapping[str, Truth], num_rows: int) -> Recovery:
    """What `sae` has found, over rows that it was not trained on."""
    names = tuple(sites)
    return measure(
        sae,
        [sites[name] for name in config.inputs(names)],
        [sites[name] for name in config.targets(names)],
        num_rows,
    )
