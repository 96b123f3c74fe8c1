from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from shared.errors import CheckpointError, JobFailed
from shared.row_table import Rows
from shared.trainer_config import TrainerConfig
from tests.trainer_samples import (
    MATRYOSHKA,
    RELU_L1,
    SAMPLES,
    SEVERAL_HOOKPOINTS,
    TOPK,
    new_trainer,
    some_block,
)
from trainers import Trainer
from trainers.architectures import ARCHITECTURES
from trainers.trainer import clip_gradients

OPTIONS = {
    "averages": {"ema_decay": 0.9},
    "annealing": {"k_anneal_fraction": 0.8, "k_anneal_from": 20},
    "accumulating": {"accumulate": 3, "ema_decay": 0.9},
    "half precision": {"autocast": "bfloat16"},
}
"""What else a trainer carries from step to step."""
WITH_OPTIONS = {
    f"{one.architecture}, {name}": one.model_copy(update=keys)
    for name, keys in OPTIONS.items()
    for one in (TOPK, MATRYOSHKA, RELU_L1)
    if keys.keys() <= type(one).model_fields.keys()
}
ALL = SAMPLES | SEVERAL_HOOKPOINTS | WITH_OPTIONS
EVERY = pytest.mark.parametrize("config", ALL.values(), ids=ALL.keys())


def read_blocks(trainer: Trainer, start: int, stop: int) -> None:
    for number in range(start, stop):
        trainer.read(number, some_block(number))


def whole_state(trainer: Trainer) -> list[Tensor]:
    moments = [state[key] for state in trainer.optimiser.state.values() for key in sorted(state)]
    modules = [trainer.objective, trainer.firing, trainer.accumulation, *([trainer.ema] if trainer.ema else [])]
    tensors = [tensor for module in modules for tensor in module.state_dict().values()] + moments
    return [*tensors, trainer.batches.waiting]


def same_state(first: Trainer, second: Trainer) -> bool:
    pairs = zip(whole_state(first), whole_state(second), strict=True)
    return first.report() == second.report() and first.digest == second.digest and all(torch.equal(*p) for p in pairs)


@EVERY
def test_trainers_that_take_turns_are_those_that_train_alone(config: TrainerConfig) -> None:
    wide = config.model_copy(update={"num_latents": 128})
    together, other = new_trainer(config), new_trainer(wide)
    for number in range(4):
        read_blocks(together, number, number + 1)
        read_blocks(other, number, number + 1)
    alone = new_trainer(config)
    read_blocks(alone, 0, 4)
    assert same_state(together, alone)
    assert together.digest == other.digest


@EVERY
@pytest.mark.parametrize("stop_after", [0, 1, 3])
def test_a_trainer_that_was_saved_and_loaded_is_one_that_never_stopped(
    config: TrainerConfig, stop_after: int, tmp_path: Path
) -> None:
    straight, stopped = new_trainer(config, 5), new_trainer(config, 5)
    read_blocks(straight, 0, 5)
    read_blocks(stopped, 0, stop_after)
    assert stop_after == 0 or len(stopped.batches.waiting) > 0
    stopped.save(tmp_path / "40")
    resumed = Trainer.load(tmp_path / "40", config)
    assert same_state(stopped, resumed)
    read_blocks(resumed, stop_after, 5)
    assert straight.finish() == resumed.finish()
    assert same_state(straight, resumed)


def test_every_architecture_is_among_those_that_resume() -> None:
    assert {config.architecture for config in ALL.values()} == ARCHITECTURES.keys()


def test_auxk_and_dead_latents_were_part_of_what_was_resumed() -> None:
    trainer = new_trainer(TOPK, 5)
    assert any(trainer.read(number, some_block(number)).losses["auxk"] > 0 for number in range(5))
    assert int(trainer.firing.tokens_since_fired.max()) > 60


def test_block_boundaries_do_not_change_the_weights() -> None:
    whole, parts = new_trainer(TOPK), new_trainer(TOPK)
    block = some_block(0, 1000)
    whole.read(0, block)
    parts.objective.load_state_dict(new_trainer(TOPK).objective.state_dict())
    parts.objective.start = lambda rows: None  # type: ignore[method-assign]
    started = new_trainer(TOPK)
    started.objective.start(torch.from_numpy(block.activations["h"]) * started.scales["h"])
    parts.objective.load_state_dict(started.objective.state_dict())
    for number, start in enumerate(range(0, 1000, 130)):
        parts.read(number, block.slice(start, start + 130))
    assert parts.steps == whole.steps == 14
    assert torch.equal(parts.sae.W_dec, whole.sae.W_dec)
    assert parts.digest != whole.digest


def test_counts_every_row_once() -> None:
    trainer = new_trainer(TOPK, 3)
    read_blocks(trainer, 0, 3)
    assert (trainer.rows_read, trainer.rows_trained, trainer.steps, trainer.cursor) == (3000, 2940, 42, 3)
    trainer = new_trainer(RELU_L1, 3)
    read_blocks(trainer, 0, 3)
    assert (trainer.rows_trained, trainer.steps) == (2890, 17)
    assert trainer.finish() is not None
    assert (trainer.rows_trained, trainer.steps) == (3000, 18)
    assert trainer.lr == 0


def test_finishing_a_stream_without_blocks_takes_no_step() -> None:
    assert new_trainer(TOPK).finish() is None


def test_finishing_twice_takes_one_step() -> None:
    trainer = new_trainer(TOPK)
    read_blocks(trainer, 0, 1)
    assert trainer.finish() is not None
    assert trainer.finish() is None
    assert trainer.rows_trained == 1000


def test_a_block_out_of_order_is_refused() -> None:
    with pytest.raises(AssertionError, match="block 1 came, 0 is next"):
        new_trainer(TOPK).read(1, some_block(1))


def test_loss_that_is_not_finite_ends_the_job_with_a_sentence() -> None:
    trainer, block = new_trainer(TOPK), some_block(0)
    block.activations["h"][10, 3] = np.nan
    with pytest.raises(JobFailed, match="trainer t: the loss of step 0 is nan"):
        trainer.read(0, block)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_rows_train_as_their_values(dtype: torch.dtype) -> None:
    values = torch.from_numpy(some_block(0).activations["h"]).to(dtype)
    stored = values.view(torch.uint16).numpy() if dtype == torch.bfloat16 else values.numpy()
    half, full = new_trainer(TOPK), new_trainer(TOPK)
    half.read(0, Rows(some_block(0).addresses, {"h": stored}))
    full.read(0, Rows(some_block(0).addresses, {"h": values.float().numpy()}))
    assert torch.equal(half.sae.W_enc, full.sae.W_enc)
    assert torch.equal(half.batches.waiting.float(), full.batches.waiting)


def test_the_seed_alone_fixes_the_start() -> None:
    assert torch.equal(new_trainer(TOPK).sae.W_enc, new_trainer(TOPK).sae.W_enc)
    own = new_trainer(TOPK.model_copy(update={"seed": 8}))
    assert own.seed == 8
    assert not torch.equal(own.sae.W_enc, new_trainer(TOPK).sae.W_enc)


def test_warmup_and_decay_follow_tokens() -> None:
    config = TOPK.model_copy(update={"lr_warmup_fraction": 0.5, "lr_decay_fraction": 0.25, "batch_rows": 100})
    trainer = new_trainer(config, 4)
    lrs = []
    for number in range(4):
        lrs.append(trainer.lr / 3e-3)
        read_blocks(trainer, number, number + 1)
    assert [*lrs, trainer.lr] == pytest.approx([0, 0.5, 1, 1, 0])


def test_clipping_bounds_the_common_norm_and_leaves_small_gradients() -> None:
    parameters = [torch.nn.Parameter(torch.zeros(3)), torch.nn.Parameter(torch.zeros(2, 2))]
    for parameter in parameters:
        parameter.grad = torch.full_like(parameter, 2.0)
    clip_gradients(parameters, 1.0)
    grads = torch.cat([parameter.grad.flatten() for parameter in parameters if parameter.grad is not None])
    assert grads.norm().item() == pytest.approx(1.0)
    clip_gradients(parameters, 5.0)
    assert grads.norm().item() == pytest.approx(1.0)


def test_report_is_over_the_last_part_of_the_run() -> None:
    trainer = new_trainer(TOPK, 40)
    reports = [trainer.read(number, some_block(number)) for number in range(40)]
    windowed = trainer.report()
    assert windowed.fvu is not None and reports[0].fvu is not None
    assert windowed.fvu < 0.7 * reports[0].fvu
    assert windowed.tokens == 40_000


@pytest.mark.parametrize("file", ["state.json", "state.safetensors"])
@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_a_damaged_checkpoint_is_named(file: str, damage: str, tmp_path: Path) -> None:
    trainer = new_trainer(TOPK)
    read_blocks(trainer, 0, 1)
    trainer.save(tmp_path / "1")
    path = tmp_path / "1" / file
    data = bytearray(path.read_bytes())
    if damage == "remove":
        path.unlink()
    else:
        data[len(data) // 2] ^= 1
        path.write_bytes(data if damage == "flip" else data[: len(data) // 2])
    with pytest.raises(CheckpointError, match=file):
        Trainer.load(tmp_path / "1", TOPK)


def test_a_checkpoint_of_another_configuration_is_refused(tmp_path: Path) -> None:
    new_trainer(TOPK).save(tmp_path / "0")
    with pytest.raises(CheckpointError, match="was saved with k 2, now it is 5"):
        Trainer.load(tmp_path / "0", TOPK.model_copy(update={"k": 5}))
    assert Trainer.load(tmp_path / "0", TOPK.model_copy(update={"gpus": 1.0})).cursor == 0


def test_saving_again_replaces_what_was_there(tmp_path: Path) -> None:
    trainer = new_trainer(TOPK)
    for number in range(2):
        read_blocks(trainer, number, number + 1)
        trainer.save(tmp_path / "newest")
    assert Trainer.load(tmp_path / "newest", TOPK).cursor == 2
    assert [path.name for path in tmp_path.iterdir()] == ["newest"]
