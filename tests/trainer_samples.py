"""Rows with known features, and trainers of them."""

from typing import Any

import numpy as np
import torch

from shared.active_configs import BatchTopKConfig, MatryoshkaConfig, MultiTopKConfig, TopKConfig
from shared.coder_configs import CrosscoderConfig, TranscoderConfig
from shared.penalty_configs import (
    GatedConfig,
    JumpReLUConfig,
    JumpReLUTanhConfig,
    KlConfig,
    PAnnealConfig,
    ReluL1Config,
    ReluL12023Config,
)
from shared.row_table import Rows
from shared.trainer_config import TrainerConfig
from trainers import Trainer, activation_scale

D_IN, NUM_FEATURES, BLOCK_ROWS = 32, 48, 1000
WIDTHS = {"h": D_IN, "g": 20}

TOPK = TopKConfig(
    name="t", architecture="topk", num_latents=64, k=2, batch_rows=70, lr=3e-3, dead_after_tokens=60, auxk=8
)
AUXK_KEYS = {"num_latents": 64, "k": 2, "batch_rows": 70, "lr": 3e-3, "dead_after_tokens": 60, "auxk": 8}
MULTI_TOPK = MultiTopKConfig.model_validate({"name": "m", "architecture": "multi_topk", **AUXK_KEYS})
BATCH_TOPK = BatchTopKConfig.model_validate({"name": "u", "architecture": "batch_topk", **AUXK_KEYS})
MATRYOSHKA = MatryoshkaConfig.model_validate({"name": "y", "architecture": "matryoshka", **AUXK_KEYS})
RELU_L1 = ReluL1Config(name="r", architecture="relu_l1", num_latents=64, batch_rows=170, lr=3e-3, l1_coefficient=2.0)
RELU_L1_2023 = ReluL12023Config(
    name="b",
    architecture="relu_l1_2023",
    num_latents=64,
    batch_rows=170,
    lr=3e-3,
    l1_coefficient=0.5,
    resample_at_fractions=(0.3, 0.6),
    resample_window_fraction=0.1,
    resample_rows_fraction=0.1,
    resample_rewarm_fraction=0.05,
)
KL = KlConfig(
    name="k", architecture="kl", num_latents=64, batch_rows=170, lr=3e-2, rho=0.05, beta=10.0, weight_decay=1e-3
)
P_ANNEAL = PAnnealConfig(
    name="p",
    architecture="p_anneal",
    num_latents=64,
    batch_rows=170,
    lr=3e-3,
    lr_decay_fraction=0.0,
    l1_coefficient=0.4,
    num_powers=4,
)
GATED = GatedConfig(
    name="g", architecture="gated", num_latents=64, batch_rows=170, lr=3e-3, l1_coefficient=0.5, lr_warmup_fraction=0.02
)
JUMPRELU = JumpReLUConfig(
    name="j",
    architecture="jumprelu",
    num_latents=64,
    batch_rows=110,
    lr=1e-2,
    target_l0=3,
    threshold_init=0.1,
    bandwidth=0.1,
    l0_warmup_fraction=0.1,
    lr_warmup_fraction=0.1,
)
JUMPRELU_TANH = JumpReLUTanhConfig(
    name="a",
    architecture="jumprelu_tanh",
    num_latents=64,
    batch_rows=55,
    accumulate=2,
    lr=5e-3,
    sparsity_coefficient=0.5,
)

K_KEYS = {"activation": "topk", "k": 2, "num_latents": 64, "batch_rows": 70, "lr": 3e-3, "dead_after_tokens": 60}
L1_KEYS = {"activation": "relu_l1", "num_latents": 64, "batch_rows": 170, "lr": 3e-3}
H_TO_G = {"name": "s", "architecture": "skip_transcoder", "hookpoint": "h", "target_hookpoint": "g"}
H_AND_G = {"name": "c", "architecture": "crosscoder", "hookpoints": ["h", "g"]}
SEVERAL_HOOKPOINTS: dict[str, TrainerConfig] = {
    "transcoder, topk": TranscoderConfig.model_validate({**H_TO_G, "architecture": "transcoder", **K_KEYS, "auxk": 8}),
    "transcoder, relu_l1": TranscoderConfig.model_validate({**H_TO_G, "architecture": "transcoder", **L1_KEYS}),
    "skip_transcoder, topk": TranscoderConfig.model_validate({**H_TO_G, **K_KEYS, "auxk": 8}),
    "skip_transcoder, relu_l1": TranscoderConfig.model_validate({**H_TO_G, **L1_KEYS}),
    "crosscoder, topk": CrosscoderConfig.model_validate({**H_AND_G, **K_KEYS, "auxk": 8}),
    "crosscoder, relu_l1": CrosscoderConfig.model_validate({**H_AND_G, **L1_KEYS}),
}

SAMPLES: dict[str, TrainerConfig] = {
    one.architecture: one
    for one in (
        TOPK,
        MULTI_TOPK,
        BATCH_TOPK,
        MATRYOSHKA,
        RELU_L1,
        RELU_L1_2023,
        KL,
        P_ANNEAL,
        GATED,
        JUMPRELU,
        JUMPRELU_TANH,
    )
}
"""One small trainer of each architecture of one hookpoint, all of whose parts come into play within 5 blocks."""


def true_features(name: str = "h") -> np.ndarray:
    width = WIDTHS[name]
    directions = np.random.default_rng(list(WIDTHS).index(name)).standard_normal((NUM_FEATURES, width))
    directions = directions.astype(np.float32)
    return directions / np.linalg.norm(directions, axis=1, keepdims=True)


def some_block(number: int, num_rows: int = BLOCK_ROWS) -> Rows:
    """Sparse sums of known directions, the same at both hookpoints but for those directions."""
    generator = np.random.default_rng(100 + number)
    acts = (generator.random((num_rows, NUM_FEATURES)) < 3 / NUM_FEATURES) * generator.uniform(0.5, 1.5, (num_rows, 1))
    addresses = generator.integers(0, 1000, (num_rows, 5)).astype(np.int32)
    return Rows(addresses, {name: (acts @ true_features(name)).astype(np.float32) for name in WIDTHS})


def new_trainer(config: TrainerConfig, num_blocks: int = 10, **keys: Any) -> Trainer:
    names = config.columns(tuple(WIDTHS))
    trainer = Trainer(
        config, {name: WIDTHS[name] for name in names}, seed=7, total_rows=num_blocks * BLOCK_ROWS, **keys
    )
    rows = {name: torch.from_numpy(some_block(0).activations[name]) for name in names}
    trainer.fix_scales({name: activation_scale(values, config.normalize) for name, values in rows.items()})
    return trainer
