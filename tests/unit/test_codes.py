from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from trainers.codes import Codes, DenseCodes, SparseCodes, codes_of

ROWS, NUM_LATENTS, D_IN = 20, 50, 7


def some_acts() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    acts = (torch.randn(ROWS, NUM_LATENTS, generator=generator, dtype=torch.float64) - 1.5).relu()
    acts[4] = 0
    return acts


def of_largest(acts: Tensor) -> SparseCodes:
    """With some zeros among the largest, as where fewer than k latents fire."""
    values, indices = torch.topk(acts, 15)
    assert (values == 0).any()
    return SparseCodes.of_largest(values, indices, NUM_LATENTS)


KINDS = pytest.mark.parametrize(
    "make", [DenseCodes, SparseCodes.of_dense, of_largest], ids=["dense", "sparse", "largest"]
)
Make = Callable[[Tensor], Codes]


@KINDS
def test_decode_is_the_dense_product(make: Make) -> None:
    acts, W_dec = some_acts(), torch.randn(NUM_LATENTS, D_IN).double()
    assert_close(make(acts).decode(W_dec), acts @ W_dec)


@KINDS
def test_gradients_are_the_dense_ones_where_a_latent_fired(make: Make) -> None:
    acts, W_dec, rows = some_acts(), torch.randn(NUM_LATENTS, D_IN).double(), torch.randn(ROWS, D_IN).double()
    per_latent = torch.randn(NUM_LATENTS).double()
    codes = make(acts)
    values = codes.backward(W_dec, rows)
    codes.add_to_fired(values, per_latent)
    expected = (rows @ W_dec.T + per_latent) * (acts > 0)
    target = torch.ones(NUM_LATENTS, D_IN, dtype=torch.float64)
    codes.add_product(target, values, rows)
    assert_close(target, 1 + expected.T @ rows)
    assert_close(codes.sum_by_latent(values), expected.sum(0))


@KINDS
def test_product_without_what_was_there_ignores_what_is_not_finite(make: Make) -> None:
    acts, rows = some_acts(), torch.randn(ROWS, D_IN).double()
    target = torch.full((NUM_LATENTS, D_IN), torch.nan, dtype=torch.float64)
    codes = make(acts)
    codes.add_product(target, codes.values, rows, beta=0.0)
    assert_close(target, acts.T @ rows)


@KINDS
@pytest.mark.parametrize("threshold", [0.0, 0.3])
def test_counts_rows_on_which_a_latent_is_above(make: Make, threshold: float) -> None:
    acts = some_acts()
    assert torch.equal(make(acts).times_above(threshold), (acts > threshold).sum(0))


def test_more_latents_than_16_bits_count() -> None:
    values, indices = torch.rand(3, 2), torch.tensor([[2**16, 5], [5, 2**16 + 7], [0, 2**16]])
    codes = SparseCodes.of_largest(values, indices, 2**16 + 8)
    target = torch.zeros(2**16 + 8, 3)
    codes.add_product(target, codes.values, torch.eye(3))
    assert_close(target, torch.zeros(3, 2**16 + 8).scatter(1, indices, values).T)


def test_few_activations_are_kept_sparse_and_many_dense() -> None:
    acts = torch.zeros(10, 100)
    acts[:, :6] = 1
    assert isinstance(codes_of(acts), SparseCodes)
    acts[:, :7] = 1
    assert isinstance(codes_of(acts), DenseCodes)


def test_no_activation_at_all_has_no_gradient() -> None:
    codes = codes_of(torch.zeros(4, 20))
    assert torch.equal(codes.decode(torch.ones(20, 3)), torch.zeros(4, 3))
    target = torch.ones(20, 3)
    codes.add_product(target, codes.backward(torch.ones(20, 3), torch.ones(4, 3)), torch.ones(4, 3), beta=0.0)
    assert torch.equal(target, torch.zeros(20, 3))
