import pytest
import torch

from trainers import activation_scale


def test_scaled_rows_have_a_mean_norm_of_sqrt_d_in() -> None:
    rows = torch.randn(1000, 64, generator=torch.Generator().manual_seed(0)) * 7 + 3
    assert (rows * activation_scale(rows)).norm(dim=1).mean().item() == pytest.approx(8.0, rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_rows_are_summed_in_float64(dtype: torch.dtype) -> None:
    rows = torch.full((70_000, 4), 100.0, dtype=dtype)
    assert activation_scale(rows) == pytest.approx(0.01)


@pytest.mark.parametrize("value", [0.0, float("nan"), float("inf")])
def test_rows_without_a_scale_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match="finite mean norm above 0"):
        activation_scale(torch.full((3, 4), value))
