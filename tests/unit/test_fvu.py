import pytest
import torch

from trainers.fvu import NUM_BUCKETS, Sums, Window


def some_rows(num_rows: int, seed: int, shift: float = 0.0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(num_rows, 8, generator=generator) + shift
    return x, 0.3 * torch.randn(num_rows, 8, generator=generator)


def of_rows(x: torch.Tensor, error: torch.Tensor) -> Sums:
    return Sums.of(x, error, 2.0, {"loss": float(len(x))})


def test_fvu_of_merged_sums_is_that_of_the_whole_matrix() -> None:
    x, error = some_rows(1000, 0, shift=50.0)
    merged = sum((of_rows(x[i : i + 70], error[i : i + 70]) for i in range(0, 1000, 70)), Sums.none(8))
    x, error = x.double(), error.double()
    expected = error.square().sum() / (x - x.mean(0)).square().sum()
    assert merged.fvu == pytest.approx(expected.item(), rel=1e-6)
    assert merged.rows == 1000


def test_fvu_ignores_a_shift_of_the_rows() -> None:
    x, error = some_rows(500, 1)
    assert of_rows(x + 10, error).fvu == pytest.approx(of_rows(x, error).fvu, rel=1e-4)


def test_predicting_the_mean_has_fvu_one() -> None:
    x, _ = some_rows(500, 2)
    assert of_rows(x, x - x.mean(0)).fvu == pytest.approx(1.0, rel=1e-6)


def test_no_rows_and_no_variance_have_no_fvu() -> None:
    assert Sums.none(8).fvu is None
    assert Sums.none(8).l0 is None
    assert of_rows(torch.ones(5, 8), torch.zeros(5, 8)).fvu is None


def test_losses_are_means_over_rows() -> None:
    total = of_rows(*some_rows(10, 0)) + of_rows(*some_rows(30, 1))
    assert total.mean_losses == {"loss": pytest.approx((10 * 10 + 30 * 30) / 40)}
    assert total.l0 == 2.0


def test_a_loss_of_zero_stays_in_the_sums() -> None:
    block = Sums.of(*some_rows(4, 0), 1.0, {"auxk": 0.0})
    assert (block + block).mean_losses == {"auxk": 0.0}


def test_window_forgets_the_oldest_blocks_and_keeps_the_newest() -> None:
    window = Window(rows=16 * 10, d_in=8)
    for seed in range(100):
        window.add(of_rows(*some_rows(10, seed)))
    expected = sum((of_rows(*some_rows(10, seed)) for seed in range(84, 100)), Sums.none(8))
    assert window.total().rows == expected.rows == 160
    assert window.total().fvu == pytest.approx(expected.fvu)


def test_window_shorter_than_a_block_holds_whole_blocks() -> None:
    window = Window(rows=1, d_in=8)
    for seed in range(NUM_BUCKETS + 3):
        window.add(of_rows(*some_rows(10, seed)))
    assert window.total().rows == NUM_BUCKETS * 10
