"""A trainer that is slow and does not load the machine: TopK that sleeps at each step.

The job file names it as `architecture: tests.paced:PacedTopK`, with `pause_ms` beside TopK's own keys.
"""

import time

from torch import Tensor

from shared.active_configs import ActiveConfig
from shared.config_types import AtLeastZero
from trainers.firing import Firing
from trainers.objective import BatchResult
from trainers.topk import TopKObjective

ARCHITECTURE = "tests.paced:PacedTopK"


class PacedConfig(ActiveConfig):
    """TopK's, and how long each step sleeps."""

    pause_ms: AtLeastZero = 0.0


class PacedTopK(TopKObjective):
    """TopK at a pace; its weights are those of TopK."""

    Config = PacedConfig
    config: PacedConfig

    def backward(self, x: Tensor, firing: Firing, fraction: float) -> BatchResult:
        time.sleep(self.config.pause_ms / 1000)
        return super().backward(x, firing, fraction)
