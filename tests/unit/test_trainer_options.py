"""What every architecture may be asked for beside its loss: accumulation, averages, normalisation, annealing."""

import math
from pathlib import Path

import pytest
import torch

from shared.active_configs import TopKConfig
from shared.errors import UserError
from shared.trainer_config import TrainerConfig
from shared.trainer_configs import OwnConfig
from tests.trainer_samples import RELU_L1, SAMPLES, SEVERAL_HOOKPOINTS, TOPK, new_trainer, some_block
from trainers import Trainer
from trainers.autograd_objective import AutogradObjective, Code, Loss
from trainers.batch_selection import largest_of_batch
from trainers.relu import Relu
from trainers.row_norm import normalised
from trainers.selection import largest_pre_acts


def test_accumulated_batches_make_the_step_of_one_large_batch_where_the_loss_is_a_mean_over_rows() -> None:
    relu = RELU_L1.model_copy(update={"lr": 1e-3, "l1_warmup_fraction": 0.0})
    large = new_trainer(relu.model_copy(update={"batch_rows": 500}))
    small = new_trainer(relu.model_copy(update={"batch_rows": 125, "accumulate": 4}))
    for number in range(3):
        large.read(number, some_block(number))
        small.read(number, some_block(number))
    assert large.steps == small.steps > 0
    for expected, found in zip(large.sae.parameters(), small.sae.parameters(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)


def test_what_has_accumulated_survives_a_restart_bit_by_bit_and_is_used_at_the_end(tmp_path: Path) -> None:
    config = RELU_L1.model_copy(update={"accumulate": 7, "ema_decay": 0.9})
    whole, half = new_trainer(config), new_trainer(config)
    half.read(0, some_block(0))
    assert not half.accumulation.is_empty
    half.save(tmp_path / "half")
    again = Trainer.load(tmp_path / "half", config)
    for number in range(3):
        whole.read(number, some_block(number))
        if number:
            again.read(number, some_block(number))
    whole.finish()
    again.finish()
    assert whole.steps == again.steps and whole.accumulation.is_empty
    for expected, found in zip(whole.exported().parameters(), again.exported().parameters(), strict=True):
        assert torch.equal(expected, found)


def test_averaged_weights_are_the_mean_over_steps_weighted_by_age() -> None:
    trainer = new_trainer(RELU_L1.model_copy(update={"ema_decay": 0.5}))
    seen = []
    update = trainer.ema.update  # type: ignore[union-attr]
    trainer.ema.update = lambda one: (seen.append(one.sae.b_dec.detach().clone()), update(one))  # type: ignore
    for number in range(2):
        trainer.read(number, some_block(number))
    weights = torch.tensor([0.5 ** (len(seen) - index) for index in range(len(seen))])
    expected = (torch.stack(seen) * weights[:, None]).sum(0) / weights.sum()
    averaged = trainer.ema.averaged(trainer.objective)  # type: ignore[union-attr]
    torch.testing.assert_close(averaged.sae.b_dec.detach(), expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("normalize", ["none", "sqrt_d", "unit_mean_square", "token_norm", "layer_norm"])
def test_what_is_exported_does_to_raw_rows_what_was_trained(normalize: str, tmp_path: Path) -> None:
    trainer = new_trainer(TOPK.model_copy(update={"normalize": normalize}))
    raw = torch.from_numpy(some_block(0).activations["h"])
    for number in range(3):
        trainer.read(number, some_block(number))
    rows, norm = normalised(raw * trainer.scales["h"], normalize)
    with torch.no_grad():
        expected = norm.undo(trainer.sae(rows)) / trainer.scales["h"]
        torch.testing.assert_close(trainer.exported()(raw), expected, rtol=1e-4, atol=1e-4)


def test_the_number_of_active_latents_falls_to_k() -> None:
    config = TOPK.model_copy(update={"k_anneal_fraction": 0.5, "k_anneal_from": 20})
    trainer = new_trainer(config)
    l0 = [trainer.read(number, some_block(number)).l0 for number in range(10)]
    assert l0[0] is not None and l0[0] > config.active + 5
    assert l0[-1] == pytest.approx(config.active, abs=0.5)


def test_a_share_of_all_latents_may_be_asked_for_instead_of_k() -> None:
    config = TopKConfig(name="t", architecture="topk", num_latents=64, active_proportion=0.1)
    assert config.active == 7
    assert new_trainer(config).sae.k == 7  # type: ignore[union-attr]


def test_an_architecture_from_outside_is_one_class(tmp_path: Path) -> None:
    config = OwnConfig.model_validate(
        {"name": "o", "architecture": f"{__name__}:Outside", "num_latents": 16, "batch_rows": 100, "penalty": 0.5}
    )
    trainer = new_trainer(config)
    first, last = trainer.read(0, some_block(0)), None
    for number in range(1, 10):
        last = trainer.read(number, some_block(number))
    assert last is not None and last.fvu is not None and first.fvu is not None and last.fvu < first.fvu
    assert set(last.losses) == {"loss", "mse", "l1"}
    wrong = OwnConfig.model_validate({**config.model_dump(), "penalty": "much"})
    with pytest.raises(UserError, match="trainer o: penalty must be a number, got 'much'"):
        new_trainer(wrong)


class OutsideConfig(TrainerConfig):
    penalty: float


class Outside(AutogradObjective):
    """As the documentation's example has it."""

    Config = OutsideConfig

    def __init__(self, config: OutsideConfig, widths: tuple[int, ...], generator: torch.Generator) -> None:
        (d_in,) = widths
        super().__init__(Relu(d_in, config.num_latents))
        self.penalty, self.peak_lr = config.penalty, config.lr or 1e-3
        with torch.no_grad():
            self.sae.W_enc.normal_(0, 0.1, generator=generator)
            self.sae.W_dec.copy_(self.sae.W_enc)

    def code(self, x: torch.Tensor, fraction: float) -> Code:
        pre_acts = self.sae.pre_acts(x)
        return Code(pre_acts.relu(), pre_acts)

    def loss(self, x: torch.Tensor, code: Code, dead: torch.Tensor, fraction: float) -> Loss:
        recon = self.sae.decode(code.acts)
        mse, l1 = (x - recon).square().sum(1).mean(), code.acts.sum(1).mean()
        return Loss(mse + self.penalty * l1, recon, {"mse": mse, "l1": l1})


def test_what_is_passed_over_is_written_down_and_counts_for_the_schedules(tmp_path: Path) -> None:
    trainer = new_trainer(TOPK)
    trainer.pass_over(0, 1000)
    trainer.read(1, some_block(1))
    trainer.pass_over(2, 1000)
    trainer.pass_over(3, 1000)
    trainer.save(tmp_path / "state")
    again = Trainer.load(tmp_path / "state", TOPK)
    assert again.gaps == [[0, 1], [2, 4]] and again.gap_rows == 3000 and again.cursor == 4
    assert again.rows_read == 1000 and again.fraction == pytest.approx(0.4, abs=0.01)
    again.pass_over(4)
    assert again.gap_rows == 3000, "a lane that has ended had no rows for it"


AUTOCAST: dict[str, TrainerConfig] = SAMPLES | SEVERAL_HOOKPOINTS


@pytest.mark.parametrize("config", AUTOCAST.values(), ids=AUTOCAST.keys())
def test_with_autocast_products_are_in_half_precision_and_all_else_is_whole(config: TrainerConfig) -> None:
    whole, half = new_trainer(config), new_trainer(config.model_copy(update={"autocast": "bfloat16"}))
    for number in range(4):
        expected, found = (one.read(number, some_block(number)) for one in (whole, half))
    assert found.fvu == pytest.approx(expected.fvu, rel=0.05) and found.fvu != expected.fvu
    assert not torch.equal(half.sae.W_enc, whole.sae.W_enc)
    assert {tensor.dtype for tensor in half.objective.parameters()} == {torch.float32}
    assert {moment.dtype for state in half.optimiser.state.values() for moment in state.values()} == {torch.float32}


def test_autocast_rounds_what_is_chosen_from_to_bfloat16() -> None:
    x, W_enc, b_enc = torch.randn(200, 16), torch.randn(64, 16), torch.zeros(64)
    with torch.autocast("cpu", torch.bfloat16):
        values, indices = largest_pre_acts(x, W_enc, b_enc, 3)
        candidates = largest_of_batch(x, W_enc, b_enc, 600)
    rounded = (x.bfloat16() @ W_enc.bfloat16().T).float()
    assert torch.equal(values.sort(1).values, rounded.topk(3).values.sort(1).values)
    assert torch.equal(rounded.gather(1, indices), values)
    assert torch.equal(candidates.values.sort().values, rounded.view(-1).topk(600).values.sort().values)


@pytest.mark.parametrize("value", [math.inf, [1.0, math.nan], {"a": {"b": -math.inf}}])
def test_keys_of_an_architecture_from_elsewhere_hold_finite_numbers(value: object) -> None:
    raw = {"name": "own", "architecture": "some.module:Kind", "num_latents": 8, "width": value}
    with pytest.raises(ValueError, match="width must hold finite numbers, got "):
        OwnConfig.model_validate(raw)
    assert OwnConfig.model_validate({**raw, "width": [1.0, {"a": 2.5}]}).model_extra == {"width": [1.0, {"a": 2.5}]}
