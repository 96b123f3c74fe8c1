"""A trainer that does what a file tells it, once: for faults that no signal gives. Else it is TopK.

The job file names it as `architecture: tests.wayward:WaywardTopK`, with `orders`, the path of the file, beside TopK's
own keys. The file is gone once it was read, so that whoever takes the trainer's place does not do it again.
"""

import time
from pathlib import Path

import numpy as np
from torch import Tensor

from shared.active_configs import ActiveConfig
from trainers.firing import Firing
from trainers.objective import BatchResult
from trainers.topk import TopKObjective

ARCHITECTURE = "tests.wayward:WaywardTopK"
HANG, EAT = "hang", "eat"
"""Stand still in a step while the heart beats on; take all memory that there is."""
BITE_BYTES, MOST_BITES = 2**25, 64
"""At most 2 GiB: less than a machine has that is not limited as it should be."""


class WaywardConfig(ActiveConfig):
    """TopK's, and where orders are found."""

    orders: str = ""


class WaywardTopK(TopKObjective):
    """TopK under orders; its weights are those of TopK."""

    Config = WaywardConfig
    config: WaywardConfig

    def backward(self, x: Tensor, firing: Firing, fraction: float) -> BatchResult:
        orders = Path(self.config.orders)
        if orders.is_file():
            order = orders.read_text()
            orders.unlink()
            _obey(order)
        return super().backward(x, firing, fraction)


def _obey(order: str) -> None:
    if order == EAT:
        eaten = [np.ones(BITE_BYTES, np.uint8) for _ in range(MOST_BITES)]
        raise AssertionError(f"{len(eaten)} bites of {BITE_BYTES} bytes, and nobody was killed for want of memory")
    while order == HANG:
        time.sleep(1.0)
