"""Decoder directions have length one after every step and in what is saved, whichever loss they are trained by."""

import pytest
import torch

from shared.penalty_configs import UnitNormConfig
from shared.trainer_config import TrainerConfig
from tests.trainer_samples import SAMPLES, new_trainer, some_block

CONSTRAINED = {name: one for name, one in SAMPLES.items() if isinstance(one, UnitNormConfig)}


@pytest.mark.parametrize("config", CONSTRAINED.values(), ids=CONSTRAINED.keys())
def test_directions_stay_unit_and_gradients_lie_across_them(config: TrainerConfig) -> None:
    trainer = new_trainer(config)
    rows = torch.from_numpy(some_block(0).activations["h"]) * trainer.scales["h"]
    W_dec = trainer.sae.W_dec
    for batch in rows.split(170):
        trainer._step(batch)
        assert (W_dec.detach().norm(dim=1) - 1).abs().max() < 1e-5
        trainer.objective.backward(batch, trainer.firing, 1.0)
        assert W_dec.grad is not None and (W_dec.grad * W_dec).sum(1).abs().max() > 1e-4
        trainer.objective.constrain_gradients()
        assert (W_dec.grad * W_dec).sum(1).abs().max() < 1e-6
    assert (trainer.exported().W_dec.norm(dim=1) - 1).abs().max() < 1e-6
