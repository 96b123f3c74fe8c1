"""Trained here and by SAELens from the same weights on the same batches: the same loss curve, or a difference by name.

SAELens' `standard` is relu_l1 as it is. Its `topk` departs from Gao et al. 2024 in what `MAIN` and `WITH_AUXK` list:
with all of them taken out the curves agree, with any one left in they part.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from shared.active_configs import TopKConfig
from shared.penalty_configs import ReluL1Config
from shared.row_table import Rows
from shared.trainer_config import TrainerConfig
from trainers import Trainer
from trainers.sparse_objective import FIRED_ABOVE

pytestmark = pytest.mark.filterwarnings("ignore")

D_IN, NUM_LATENTS, BATCH_ROWS, STEPS = 16, 64, 128, 200
TOTAL_ROWS = BATCH_ROWS * STEPS
LR = 3e-3
AGREE = 1e-4

RELU_L1 = ReluL1Config(
    name="r",
    architecture="relu_l1",
    num_latents=NUM_LATENTS,
    batch_rows=BATCH_ROWS,
    l1_coefficient=1.0,
    l1_warmup_fraction=0.1,
    lr=LR,
)
TOPK = TopKConfig(
    name="t", architecture="topk", num_latents=NUM_LATENTS, batch_rows=BATCH_ROWS, k=3, auxk=8, lr=LR, auxk_alpha=0.0
)
DEAD_STEPS = 6
AUXK = TOPK.model_copy(update={"auxk_alpha": 1 / 32, "dead_after_tokens": DEAD_STEPS * BATCH_ROWS})


@cache
def all_rows() -> Tensor:
    """Sparse sums of 48 directions, [rows, d_in]."""
    generator = torch.Generator().manual_seed(0)
    directions = torch.nn.functional.normalize(torch.randn(48, D_IN, generator=generator), dim=1)
    fires = torch.rand(TOTAL_ROWS, 48, generator=generator) < 3 / 48
    return 4 * (torch.rand(TOTAL_ROWS, 48, generator=generator) * fires) @ directions


def our_trainer(config: TrainerConfig) -> Trainer:
    trainer = Trainer(config, {"h": D_IN}, seed=0, total_rows=TOTAL_ROWS)
    trainer.fix_scales({"h": 1.0})
    return trainer


@cache
def our_curve(config: TrainerConfig) -> list[dict[str, float]]:
    trainer, addresses = our_trainer(config), np.zeros((BATCH_ROWS, 5), np.int32)
    batches = all_rows().numpy().reshape(STEPS, BATCH_ROWS, D_IN)
    return [trainer.read(step, Rows(addresses, {"h": batch})).losses for step, batch in enumerate(batches)]


def started(config: TrainerConfig) -> Trainer:
    """Ours at its first step."""
    trainer = our_trainer(config)
    trainer.objective.start(all_rows()[:BATCH_ROWS])
    return trainer


def their_trainer(sae: Any, start: Trainer, **options: Any) -> Any:
    """SAELens' trainer of `sae` with the weights of `start`, and its eps of Adam, for which SAELens has no key."""
    from sae_lens.config import SAETrainerConfig
    from sae_lens.training.sae_trainer import SAETrainer

    with torch.no_grad():
        for name, value in start.sae.named_parameters():
            getattr(sae, name).copy_(value.T if name == "W_enc" else value)
    config = SAETrainerConfig(
        total_training_samples=TOTAL_ROWS, train_batch_size_samples=BATCH_ROWS, lr=LR, lr_end=LR, **options
    )
    trainer = SAETrainer(config, sae, data_provider=iter(()))
    trainer.optimizer.param_groups[0]["eps"] = start.objective.adam_eps
    return trainer


def their_curve(trainer: Any) -> list[dict[str, float]]:
    curve = []
    for batch in all_rows().split(BATCH_ROWS):
        output = trainer.step(batch)
        trainer.n_training_steps += 1
        parts = {name: loss.item() for name, loss in output.losses.items()}
        curve.append({"loss": output.loss.item(), "square": (output.sae_in - output.sae_out).square().mean().item()})
        curve[-1] |= parts
    return curve


def furthest(ours: list[float], theirs: list[float]) -> float:
    """The greatest relative difference of two curves."""
    return max(abs(one / other - 1) for one, other in zip(ours, theirs, strict=True))


def test_relu_l1_follows_the_curve_of_saelens_standard() -> None:
    from sae_lens.saes.standard_sae import StandardTrainingSAE, StandardTrainingSAEConfig

    config = StandardTrainingSAEConfig(
        d_in=D_IN,
        d_sae=NUM_LATENTS,
        apply_b_dec_to_input=False,
        l1_coefficient=RELU_L1.l1_coefficient,
        l1_warm_up_steps=round(RELU_L1.l1_warmup_fraction * STEPS),
    )
    trainer = their_trainer(
        StandardTrainingSAE(config),
        started(RELU_L1),
        lr_decay_steps=round(RELU_L1.lr_decay_fraction * STEPS),
    )
    ours, theirs = our_curve(RELU_L1), their_curve(trainer)
    assert furthest([one["loss"] for one in ours], [one["loss"] for one in theirs]) < AGREE
    assert furthest([one["mse"] for one in ours], [one["mse_loss"] for one in theirs]) < AGREE
    assert ours[-1]["loss"] < 0.5 * ours[0]["loss"]


def scale_the_loss(trainer: Any, start: Trainer, config: TopKConfig) -> None:
    """Theirs is the sum over d_in of squared errors, ours that sum over the variance: so clipping at norm 1 differs."""
    scale = start.objective.get_buffer("mse_scale").item()
    trainer.sae.mse_loss_fn = lambda recon, x: (recon - x).square() * (scale / D_IN)


def keep_directions_unit(trainer: Any, start: Trainer, config: TopKConfig) -> None:
    """Theirs lets decoder norms drift, ours projects the gradient and renormalises."""
    W_dec = trainer.sae.W_dec

    def renormalise(*_: Any) -> None:
        with torch.no_grad():
            W_dec.div_(W_dec.norm(dim=1, keepdim=True))

    W_dec.register_hook(lambda grad: grad - (grad * W_dec.detach()).sum(1, keepdim=True) * W_dec.detach())
    trainer.optimizer.register_step_post_hook(renormalise)


def normalise_the_auxiliary_loss(trainer: Any, start: Trainer, config: TopKConfig) -> None:
    """Theirs: a sum of squares, no ReLU on the dead latents' values, times min(dead / k_aux, 1)."""
    trainer.sae.calculate_topk_aux_loss = lambda **keys: config.auxk_alpha * auxk_loss(trainer.sae, config, **keys)


def count_who_fired_first(trainer: Any, start: Trainer, config: TopKConfig) -> None:
    """Theirs knows who is dead from the batches before this one, ours counts this batch too."""
    inner = trainer.sae.calculate_aux_loss

    def aux_loss(step_input: Any, feature_acts: Tensor, hidden_pre: Tensor, sae_out: Tensor) -> Any:
        step_input.dead_neuron_mask &= ~(feature_acts > FIRED_ABOVE).any(0)
        return inner(step_input, feature_acts, hidden_pre, sae_out)

    trainer.sae.calculate_aux_loss = aux_loss


def auxk_loss(
    sae: Any, config: TopKConfig, sae_in: Tensor, sae_out: Tensor, hidden_pre: Tensor, dead_neuron_mask: Tensor
) -> Tensor:
    num_dead = int(dead_neuron_mask.sum())
    if num_dead == 0:
        return sae_in.new_zeros(())
    error = (sae_in - sae_out).detach()
    assert config.auxk is not None
    top = hidden_pre.masked_fill(~dead_neuron_mask, -torch.inf).topk(min(config.auxk, num_dead))
    aux = torch.zeros_like(hidden_pre).scatter(1, top.indices, top.values.relu()) @ sae.W_dec
    return (error - aux).square().mean() / (error - error.mean(0)).square().mean()


Difference = Callable[[Any, Trainer, TopKConfig], None]
MAIN: tuple[Difference, ...] = (scale_the_loss, keep_directions_unit)
WITH_AUXK: tuple[Difference, ...] = (*MAIN, normalise_the_auxiliary_loss, count_who_fired_first)


def topk_distance(config: TopKConfig, differences: tuple[Difference, ...]) -> float:
    """How far SAELens' curve of squared errors is from ours when `differences` are taken out of theirs."""
    from sae_lens.saes.topk_sae import TopKTrainingSAE, TopKTrainingSAEConfig

    sae = TopKTrainingSAE(
        TopKTrainingSAEConfig(
            d_in=D_IN,
            d_sae=NUM_LATENTS,
            k=config.active,
            apply_b_dec_to_input=True,
            rescale_acts_by_decoder_norm=False,
            aux_loss_coefficient=config.auxk_alpha,
        )
    )
    start = started(config)
    trainer = their_trainer(sae, start, dead_feature_window=max(0, config.dead_after_tokens // BATCH_ROWS - 2))
    for take_out in differences:
        take_out(trainer, start, config)
    theirs = [one["square"] for one in their_curve(trainer)]
    scale = start.objective.get_buffer("mse_scale").item()
    ours = our_curve(config)
    if config.auxk_alpha:
        assert sum(one["auxk"] > 0 for one in ours) > STEPS / 4
    return furthest([one["mse"] / scale for one in ours], theirs)


def test_topk_follows_the_curve_of_saelens_without_what_differs() -> None:
    assert topk_distance(TOPK, MAIN) < AGREE


def test_auxk_follows_too() -> None:
    assert topk_distance(AUXK, WITH_AUXK) < AGREE


@pytest.mark.parametrize("left_in", MAIN, ids=lambda difference: difference.__name__)
def test_each_difference_counts(left_in: Difference) -> None:
    assert topk_distance(TOPK, tuple(one for one in MAIN if one is not left_in)) > AGREE


@pytest.mark.parametrize("left_in", WITH_AUXK[len(MAIN) :], ids=lambda difference: difference.__name__)
def test_each_difference_of_auxk_counts(left_in: Difference) -> None:
    assert topk_distance(AUXK, tuple(one for one in WITH_AUXK if one is not left_in)) > AGREE
