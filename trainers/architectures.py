"""Every architecture by its configuration. A new one adds its module, its configuration and one case here."""

import torch

from shared.config import AnyTrainer, ReluL1Config, TopKConfig
from trainers.objective import Objective
from trainers.relu_l1 import ReluL1Objective
from trainers.topk import TopKObjective


def make_objective(config: AnyTrainer, d_in: int, seed: int) -> Objective:
    """The architecture of `config` at its start; its weights are a function of config, d_in and seed alone."""
    generator = torch.Generator().manual_seed(seed)
    match config:
        case TopKConfig():
            return TopKObjective(config, d_in, generator)
        case ReluL1Config():
            return ReluL1Objective(config, d_in, generator)
