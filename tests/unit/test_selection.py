import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainers.selection import MIN_PIECE_ROWS, largest_pre_acts, select_largest


@pytest.mark.parametrize(
    ("num_columns", "k"), [(1024, 32), (8192, 32), (512, 1), (96, 5), (97, 5), (64, 64), (64, 63), (1, 1), (2048, 500)]
)
def test_selects_what_torch_topk_selects(num_columns: int, k: int) -> None:
    pre_acts = torch.randn(65, num_columns, generator=torch.Generator().manual_seed(num_columns + k))
    values, columns = select_largest(pre_acts, k)
    expected = torch.topk(pre_acts, k)
    assert torch.equal(values.sort(1, descending=True).values, expected.values)
    assert torch.equal(columns.sort(1).values, expected.indices.sort(1).values)
    assert torch.equal(pre_acts.gather(1, columns), values)


def test_equal_values_give_the_k_largest_and_different_columns() -> None:
    pre_acts = torch.from_numpy(np.random.default_rng(0).integers(0, 4, (200, 1024)).astype(np.float32))
    values, columns = select_largest(pre_acts, 32)
    assert torch.equal(values.sort(1, descending=True).values, torch.topk(pre_acts, 32).values)
    assert all(len(set(row)) == 32 for row in columns.tolist())


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    num_columns=st.sampled_from([1, 7, 64, 256, 300, 512, 777, 1024]),
    share=st.floats(0, 1),
    levels=st.sampled_from([1, 2, 5, 10**6]),
    odd=st.sampled_from([0.0, np.inf, -np.inf]),
)
def test_columns_are_those_of_a_stable_sort(seed: int, num_columns: int, share: float, levels: int, odd: float) -> None:
    draw, k = np.random.default_rng(seed), max(1, round(share * num_columns))
    pre_acts = draw.integers(-levels, levels, (9, num_columns)).astype(np.float32)
    pre_acts[draw.random(pre_acts.shape) < 0.1] = odd
    values, columns = select_largest(torch.from_numpy(pre_acts), k)
    expected = np.sort(np.argsort(-pre_acts, axis=1, kind="stable")[:, :k], axis=1)
    np.testing.assert_array_equal(columns.numpy(), expected)
    np.testing.assert_array_equal(values.numpy(), np.take_along_axis(pre_acts, expected, 1))


@pytest.mark.parametrize("num_columns", [64, 2048])
def test_what_is_not_a_number_is_chosen_so_that_a_loss_shows_it(num_columns: int) -> None:
    pre_acts = torch.randn(4, num_columns, generator=torch.Generator().manual_seed(0))
    pre_acts[0, 60] = pre_acts[1] = torch.nan
    values, columns = select_largest(pre_acts, 8)
    assert 60 in columns[0].tolist() and values[0].isnan().sum() == 1
    assert values[1].isnan().all() and columns[1].tolist() == list(range(8))
    assert torch.equal(columns[2:], torch.topk(pre_acts[2:], 8).indices.sort(1).values)


def test_large_values_all_in_one_group_are_all_found() -> None:
    pre_acts = torch.zeros(3, 1024)
    pre_acts[:, 5::128] = torch.arange(1.0, 9.0)
    values, _ = select_largest(pre_acts, 32)
    assert torch.equal(values.sort(1, descending=True).values[:, :8], torch.arange(8.0, 0.0, -1).expand(3, 8))


@pytest.mark.parametrize("num_rows", [1, MIN_PIECE_ROWS, 1300])
def test_pieces_of_rows_give_what_the_whole_product_gives(num_rows: int) -> None:
    generator = torch.Generator().manual_seed(0)
    x, W_enc = torch.randn(num_rows, 9, generator=generator), torch.randn(8192, 9, generator=generator)
    b_enc = torch.randn(8192, generator=generator)
    values, columns = largest_pre_acts(x, W_enc, b_enc, 5)
    pre_acts = x @ W_enc.T + b_enc
    torch.testing.assert_close(values.sort(1).values, torch.topk(pre_acts, 5).values.sort(1).values)
    torch.testing.assert_close(pre_acts.gather(1, columns), values)
