import torch
from torch.testing import assert_close

from trainers.geometric_median import geometric_median


def test_outliers_hardly_move_it() -> None:
    rows = torch.randn(1001, 5, generator=torch.Generator().manual_seed(0))
    moved = torch.cat([rows, torch.full((50, 5), 1e4)])
    assert (geometric_median(moved) - geometric_median(rows)).norm() < 0.2
    assert (moved.mean(0) - rows.mean(0)).norm() > 100


def test_no_step_in_any_direction_is_nearer() -> None:
    rows = torch.randn(500, 3, generator=torch.Generator().manual_seed(1)).exp()
    median = geometric_median(rows)

    def total(point: torch.Tensor) -> float:
        return (rows - point).double().norm(dim=1).sum().item()

    assert all(total(median) <= total(median + step) + 1e-3 for step in 0.02 * torch.cat([torch.eye(3), -torch.eye(3)]))


def test_rows_that_are_all_the_same_are_their_own_median() -> None:
    assert_close(geometric_median(torch.full((10, 4), 2.5)), torch.full((4,), 2.5))
