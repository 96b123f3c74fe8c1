"""N shards of a batch make the step of the whole: the same weights, thresholds, rates, counters, clipping.

Shards are a step's micro-batches, by `accumulate`. Gradients of a mean over rows are averaged; where rows are coupled
they are put together. What is remembered from step to step are sums, so that those of shards could be added anywhere.
"""

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from shared.trainer_config import TrainerConfig
from tests.trainer_samples import BATCH_TOPK, JUMPRELU, SAMPLES, SEVERAL_HOOKPOINTS, new_trainer, some_block
from trainers import Trainer
from trainers.batch_selection import candidates_above, keep_largest, largest_of_batch
from trainers.batch_topk import BatchTopKObjective, RecentMean
from trainers.kl import KlObjective
from trainers.trainer import clip_gradients

SHARDS, STEP_ROWS, BLOCKS = 4, 320, 3
PLAIN = {"resample_at_fractions": (), "anneal_from_fraction": 0.99, "lr_decay_fraction": 0.2, "lr_warmup_fraction": 0.1}
"""Without what is drawn from single batches: rows to make latents anew of, the rescaling of p-annealing's lambda."""
ALL: dict[str, TrainerConfig] = SAMPLES | SEVERAL_HOOKPOINTS
ALL["jumprelu, l0_coefficient"] = JUMPRELU.model_copy(update={"target_l0": None, "l0_coefficient": 0.1})
EVERY = pytest.mark.parametrize("config", ALL.values(), ids=ALL.keys())


def trained(config: TrainerConfig, shards: int, **keys: object) -> Trainer:
    known = {key: value for key, value in PLAIN.items() if key in type(config).model_fields}
    update = {**known, "batch_rows": STEP_ROWS // shards, "accumulate": shards, **keys}
    trainer = new_trainer(config.model_copy(update=update), BLOCKS)
    trainer.firing.window_tokens = 10**6
    for number in range(BLOCKS):
        trainer.read(number, some_block(number))
    return trainer


@EVERY
def test_shards_make_the_steps_of_the_whole(config: TrainerConfig) -> None:
    whole, sharded = trained(config, 1, grad_clip=0.05), trained(config, SHARDS, grad_clip=0.05)
    assert sharded.steps == whole.steps == BLOCKS * 1000 // STEP_ROWS
    assert sharded.lr == pytest.approx(whole.lr)
    start = new_trainer(config, BLOCKS)
    for (name, found), expected, before in zip(
        sharded.objective.named_parameters(), whole.objective.parameters(), start.objective.parameters(), strict=True
    ):
        assert_close(found, expected, rtol=1e-3, atol=1e-4, msg=lambda text, name=name: f"{name}: {text}")
        assert not torch.equal(expected, before), name
    for name, expected in whole.objective.named_buffers():
        if name == "recent":  # p-annealing's penalties of the last few gradients
            continue
        assert_close(sharded.objective.get_buffer(name), expected, rtol=1e-3, atol=1e-4)


@EVERY
def test_shards_count_firing_and_the_dead_as_the_whole_does(config: TrainerConfig) -> None:
    whole, sharded = trained(config, 1, lr=1e-9), trained(config, SHARDS, lr=1e-9)
    whole.finish()
    sharded.finish()
    assert torch.equal(sharded.firing.fired, whole.firing.fired) and whole.firing.fired.sum() > 0
    assert torch.equal(sharded.firing.window, whole.firing.window)
    later = (sharded.firing.tokens_since_fired - whole.firing.tokens_since_fired).abs()
    assert later.max() < STEP_ROWS, "to within the rows of a step"


@pytest.mark.parametrize("grad_clip", [1e-3, 1e9])
def test_the_last_step_of_uneven_shards_is_that_of_the_whole(grad_clip: float) -> None:
    config = SAMPLES["relu_l1"]
    whole, sharded = (trained(config, shards, grad_clip=grad_clip) for shards in (1, SHARDS))
    assert 0 < len(sharded.batches.waiting) < STEP_ROWS // SHARDS and not sharded.accumulation.is_empty
    whole.finish()
    sharded.finish()
    for found, expected in zip(sharded.sae.parameters(), whole.sae.parameters(), strict=True):
        assert_close(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("num_shards", [2, 3, 7])
def test_the_largest_of_a_batch_are_the_largest_of_what_its_shards_let_through(num_shards: int) -> None:
    generator = torch.Generator().manual_seed(num_shards)
    x, W_enc = torch.randn(210, 9, generator=generator), torch.randn(64, 9, generator=generator)
    b_enc = torch.randn(64, generator=generator)
    expected = largest_of_batch(x, W_enc, b_enc, 500)
    floor = expected.values.min().item() * 0.9
    shards = [candidates_above(piece, W_enc, b_enc, floor) for piece in x.chunk(num_shards)]
    starts = [0, *torch.tensor([len(piece) for piece in x.chunk(num_shards)]).cumsum(0).tolist()]
    positions = [one.positions + 64 * start for one, start in zip(shards, starts[:-1], strict=True)]
    together = type(expected)(torch.cat([one.values for one in shards]), torch.cat(positions))
    found = keep_largest(together, 500)
    assert_close(found.values, expected.values)
    assert torch.equal(found.positions, expected.positions)


def test_a_threshold_of_shards_is_the_mean_of_their_sums() -> None:
    parts, whole = [RecentMean(0.9) for _ in range(3)], RecentMean(0.9)
    numbers = torch.rand(5, 3, generator=torch.Generator().manual_seed(0))
    for step in numbers:
        for part, number in zip(parts, step, strict=True):
            part.add(number)
        whole.add(step.mean())
    assert sum(part.sum for part in parts) / sum(part.weight for part in parts) == pytest.approx(whole.mean)


def test_the_threshold_and_the_rates_of_shards_are_those_of_the_whole_to_the_bit() -> None:
    whole, sharded = (trained(BATCH_TOPK, shards).objective for shards in (1, SHARDS))
    assert isinstance(whole, BatchTopKObjective) and isinstance(sharded, BatchTopKObjective)
    assert sharded.smallest_kept.mean == whole.smallest_kept.mean > 0
    whole, sharded = (trained(SAMPLES["kl"], shards).objective for shards in (1, SHARDS))
    assert isinstance(whole, KlObjective) and isinstance(sharded, KlObjective)
    assert torch.equal(sharded.mean_acts, whole.mean_acts)


def test_clipping_is_by_the_norm_of_the_whole_gradient() -> None:
    shards = [torch.tensor([3.0, 0.0]), torch.tensor([0.0, 4.0])]
    assert clipped(torch.stack(shards).mean(0)).norm().item() == pytest.approx(1.0)
    of_each = torch.stack([clipped(shard) for shard in shards]).mean(0)
    assert not torch.allclose(of_each, clipped(torch.stack(shards).mean(0)))


def clipped(gradient: Tensor) -> Tensor:
    parameter = torch.nn.Parameter(torch.zeros_like(gradient))
    parameter.grad = gradient.clone()
    clip_gradients([parameter], 1.0)
    return parameter.grad
