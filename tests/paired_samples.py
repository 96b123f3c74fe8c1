"""Rows of two hookpoints of different widths and sizes: sparse features, and what a layer makes of them."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from shared.row_table import Rows
from shared.trainer_config import TrainerConfig
from trainers import Trainer, activation_scale

D_IN, D_OUT, NUM_FEATURES, BLOCK_ROWS = 24, 16, 32, 1000
WIDTHS = {"into": D_IN, "out": D_OUT}


Layer = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Features' activations and the input made of them -> the output."""


def directions(seed: int, count: int, width: int) -> np.ndarray:
    drawn = np.random.default_rng(seed).standard_normal((count, width))
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def squares(acts: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Each feature's square along a direction of its own: no linear function of the input."""
    return acts**2 @ directions(2, NUM_FEATURES, D_OUT)


def linear(acts: np.ndarray, x: np.ndarray) -> np.ndarray:
    """A linear function of the input, of full rank."""
    return x @ directions(3, D_IN, D_OUT)


def paired_block(number: int, layer: Layer = squares, num_rows: int = BLOCK_ROWS) -> Rows:
    """Both with a mean; the input is thirty times as large as the output."""
    generator = np.random.default_rng(100 + number)
    fires = generator.random((num_rows, NUM_FEATURES)) < 3 / NUM_FEATURES
    acts = fires * generator.uniform(0.5, 2.0, (num_rows, NUM_FEATURES))
    x = acts @ directions(1, NUM_FEATURES, D_IN) + 0.3
    columns = {"into": 3.0 * x, "out": 0.1 * (layer(acts, x) + 1.0)}
    addresses = generator.integers(0, 1000, (num_rows, 5)).astype(np.int32)
    return Rows(addresses, {name: values.astype(np.float32) for name, values in columns.items()})


def raw_rows(number: int, name: str, num_rows: int = 200) -> Tensor:
    return torch.from_numpy(paired_block(number, num_rows=num_rows).activations[name])


def paired_trainer(config: TrainerConfig, num_blocks: int = 10) -> Trainer:
    trainer = Trainer(config, WIDTHS, seed=7, total_rows=num_blocks * BLOCK_ROWS)
    scale_of = {name: activation_scale(raw_rows(0, name), config.normalize) for name in WIDTHS}
    trainer.fix_scales(scale_of)
    return trainer
