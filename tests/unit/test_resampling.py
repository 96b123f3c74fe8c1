from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from shared.penalty_configs import ReluL12023Config
from tests.trainer_samples import RELU_L1_2023, new_trainer, some_block
from trainers import Trainer
from trainers.resampling import Resampling
from trainers.unit_norm_objective import UnitNormObjective

SILENT = [5, 40]
BLOCKS = 5


def some_resampling(seed: int = 0, **keys: object) -> Resampling:
    config = ReluL12023Config.model_validate({**RELU_L1_2023.model_dump(), **keys})
    return Resampling(config, num_latents=4, d_in=2, seed=seed)


def trainer_with_silent_latents(config: ReluL12023Config = RELU_L1_2023) -> Trainer:
    trainer = new_trainer(config, BLOCKS)
    with torch.no_grad():
        trainer.sae.b_enc[SILENT] = -1e6
    return trainer


def resampling_of(trainer: Trainer) -> Resampling:
    assert isinstance(trainer.objective, UnitNormObjective)
    return trainer.objective.resampling


def moments(trainer: Trainer, name: str) -> list[torch.Tensor]:
    state = trainer.optimiser.state[trainer.sae.get_parameter(name)]
    return [state["exp_avg"], state["exp_avg_sq"]]


def test_silent_latents_are_made_anew_and_no_others() -> None:
    renewed = trainer_with_silent_latents()
    untouched = trainer_with_silent_latents(RELU_L1_2023.model_copy(update={"resample_at_fractions": ()}))
    others = [latent for latent in range(64) if latent not in SILENT]
    seen: list[torch.Tensor] = []
    rows = torch.cat([torch.from_numpy(some_block(number).activations["h"]) for number in range(BLOCKS)])
    for batch in (rows * renewed.scales["h"]).split(170):
        seen.append(batch)
        for trainer in (renewed, untouched):
            trainer._step(batch)
        if resampling_of(renewed).num_done:
            break
    last = resampling_of(renewed).last_at.item()
    assert 0.4 <= last < 0.4 + 170 / 5000
    found, expected = renewed.sae, untouched.sae
    for name in ("W_enc", "W_dec", "b_enc"):
        assert torch.equal(found.get_parameter(name)[others], expected.get_parameter(name)[others])
        for mine, theirs in zip(moments(renewed, name), moments(untouched, name), strict=True):
            assert torch.equal(mine[others], theirs[others]) and mine[others].abs().max() > 0
            assert mine[SILENT].abs().max() == 0
    assert torch.equal(found.b_dec, expected.b_dec)
    drawn = torch.nn.functional.normalize(torch.cat(seen), dim=1)
    for latent in SILENT:
        direction = found.W_dec[latent].detach()
        assert (drawn - direction).abs().amax(1).min() < 1e-6
        assert_close(found.W_enc[latent].detach(), direction * (0.2 * found.W_enc[others].detach().norm(dim=1).mean()))
        assert found.b_enc[latent] == 0
    assert not torch.equal(found.W_dec[SILENT[0]], found.W_dec[SILENT[1]])


def test_renewed_latents_fire_again() -> None:
    trainer = trainer_with_silent_latents()
    for number in range(BLOCKS):
        trainer.read(number, some_block(number))
    assert int(resampling_of(trainer).num_done) == 2
    assert (trainer.firing.fired[SILENT] > 0).all()


def test_a_trainer_that_was_saved_while_it_drew_goes_on_bit_by_bit(tmp_path: Path) -> None:
    straight, stopped = trainer_with_silent_latents(), trainer_with_silent_latents()
    for number in range(BLOCKS):
        straight.read(number, some_block(number))
    stopped.read(0, some_block(0))
    stopped.read(1, some_block(1).slice(0, 600))
    assert 0 < len(resampling_of(stopped).rows) == len(SILENT)
    stopped.save(tmp_path / "1")
    again = Trainer.load(tmp_path / "1", RELU_L1_2023)
    again.cursor -= 1
    again.read(1, some_block(1).slice(600, 1000))
    for number in range(2, BLOCKS):
        again.read(number, some_block(number))
    first, second = straight.objective.state_dict(), again.objective.state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_rows_are_drawn_in_proportion_to_the_square_of_their_loss() -> None:
    rows, losses = torch.eye(3), torch.tensor([1.0, 2.0, 3.0])
    resampling, counts, draws = some_resampling(), torch.zeros(3), 2000
    resampling.silent[1:] = False
    for seed in range(draws):
        resampling.seed, resampling.rows, resampling.keys = seed, torch.zeros(0, 3), resampling.keys[:0]
        for batch in (slice(0, 2), slice(2, 3)):
            resampling.offer(rows[batch], losses[batch])
        assert resampling.rows.shape == (1, 3)
        counts += resampling.rows[0]
    expected = torch.tensor([1.0, 4.0, 9.0]) / 14
    deviation = (expected * (1 - expected) / draws).sqrt()
    assert ((counts / draws - expected).abs() < 4 * deviation).all()


def test_who_fires_within_the_window_is_not_silent() -> None:
    resampling = some_resampling(resample_at_fractions=[0.5], resample_window_fraction=0.2)
    fired = torch.eye(4, dtype=torch.bool)
    resampling.watch(fired[0], 0.29)
    assert resampling.silent.all()
    resampling.watch(fired[1], 0.3)
    resampling.watch(fired[2], 0.49)
    assert resampling.silent.tolist() == [True, False, False, True]
    assert resampling.is_drawing(0.5) and not resampling.is_drawing(0.49)


def test_nothing_is_drawn_before_a_batch_was_watched() -> None:
    resampling = some_resampling(resample_at_fractions=[0.5], resample_window_fraction=0.2)
    resampling.watch(torch.zeros(4, dtype=torch.bool), 0.0)
    assert not resampling.is_drawing(0.9)


def test_fewer_rows_than_silent_latents_renew_as_many_as_there_are() -> None:
    resampling = some_resampling()
    resampling.watch(torch.tensor([True, False, False, False]), 0.25)
    resampling.offer(torch.ones(2, 2), torch.tensor([1.0, 0.0]))
    renewal = resampling.take(0.4)
    assert renewal is not None
    assert renewal.latents.tolist() == [1]
    assert renewal.alive.tolist() == [True, False, False, False]
    assert len(resampling.rows) == 0 and resampling.silent.all()


def test_the_learning_rate_rises_again_along_a_cosine() -> None:
    resampling = some_resampling(resample_rewarm_fraction=0.1)
    assert resampling.lr_factor(0.0) == 1
    resampling.last_at.fill_(0.5)
    assert [resampling.lr_factor(at) for at in (0.5, 0.55, 0.6, 0.7)] == pytest.approx([0.1, 0.55, 1, 1])
    trainer = new_trainer(RELU_L1_2023)
    resampling_of(trainer).last_at.fill_(0.0)
    assert trainer.lr == pytest.approx(0.1 * 3e-3)


@pytest.mark.parametrize("points", [[0.01], [0.3, 0.31], [0.6, 0.3]])
def test_points_that_leave_no_window_are_refused(points: list[float]) -> None:
    with pytest.raises(ValueError, match=r"resample_at_fractions must rise by at least .* each, from 0 on"):
        some_resampling(resample_at_fractions=points)
