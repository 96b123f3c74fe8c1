from itertools import permutations

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from trainers import latent_matching
from trainers.latent_matching import cosines, mutual_pairs, nearest, nearest_both_ways, one_to_one


def some_directions(num: int, seed: int = 0) -> Tensor:
    return torch.randn(num, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_cosines_are_torchs_own_and_a_row_of_zeros_has_none() -> None:
    first, second = some_directions(4), some_directions(3, seed=1)
    first[2] = 0
    expected = torch.nn.functional.cosine_similarity(first[:, None], second[None], dim=-1)
    assert_close(cosines(first, second), expected)
    assert cosines(first, second)[2].abs().max() == 0


@pytest.mark.parametrize("either_sign", [False, True])
def test_nearest_takes_the_greatest_of_each_row_in_pieces_too(
    either_sign: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = some_directions(9), some_directions(4, seed=1)
    table = cosines(first, second)
    expected = (table.abs() if either_sign else table).max(1)
    for piece in (2**26, 9, 1):
        monkeypatch.setattr(latent_matching, "PIECE_COSINES", piece)
        found = nearest(first, second, either_sign=either_sign)
        assert_close(found.cosines, expected.values)
        assert torch.equal(found.columns, expected.indices)
        assert found.rows.tolist() == list(range(9))


@pytest.mark.parametrize("either_sign", [False, True])
@pytest.mark.parametrize("sizes", [(4, 6), (6, 4), (5, 5)])
def test_one_to_one_has_the_greatest_sum_of_all_assignments(sizes: tuple[int, int], either_sign: bool) -> None:
    first, second = some_directions(sizes[0]), some_directions(sizes[1], seed=1)
    table = cosines(first, second).abs() if either_sign else cosines(first, second)
    narrow = table if sizes[0] <= sizes[1] else table.T
    best = max(
        sum(float(narrow[row, column]) for row, column in enumerate(columns))
        for columns in permutations(range(narrow.shape[1]), len(narrow))
    )
    found = one_to_one(first, second, either_sign=either_sign)
    assert found.cosines.sum().item() == pytest.approx(best)
    assert len(set(found.rows.tolist())) == len(set(found.columns.tolist())) == min(sizes)
    assert_close(found.cosines, table[found.rows, found.columns])


def test_a_shuffled_and_stretched_dictionary_is_matched_whole() -> None:
    first = some_directions(6)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    found = one_to_one(first, 7 * first[order])
    assert torch.equal(order[found.columns], found.rows)
    assert_close(found.cosines, torch.ones(6, dtype=torch.float64))
    flipped = nearest(first, -first[order], either_sign=True)
    assert torch.equal(order[flipped.columns], flipped.rows)


@pytest.mark.parametrize("either_sign", [False, True])
def test_nearest_both_ways_is_nearest_from_each_side_in_pieces_too(
    either_sign: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = some_directions(9), some_directions(4, seed=1)
    expected = [nearest(*both, either_sign=either_sign) for both in ((first, second), (second, first))]
    for piece in (2**24, 9, 1):
        monkeypatch.setattr(latent_matching, "PIECE_COSINES", piece)
        for found, wanted in zip(nearest_both_ways(first, second, either_sign=either_sign), expected, strict=True):
            assert torch.equal(found.columns, wanted.columns) and torch.equal(found.rows, wanted.rows)
            assert_close(found.cosines, wanted.cosines)


def test_mutual_pairs_are_each_others_nearest_among_those_that_are_left() -> None:
    first, second = some_directions(40), some_directions(30, seed=1)
    table, left = cosines(first, second), torch.ones(40, 30, dtype=torch.bool)
    greedy = set()
    for _ in range(30):
        best = int(torch.where(left, table, -torch.inf).argmax())
        greedy.add(divmod(best, 30))
        left[best // 30] = left[:, best % 30] = False
    found = mutual_pairs(first, second, rounds=30)
    assert set(zip(found.rows.tolist(), found.columns.tolist(), strict=True)) == greedy
    assert found.rows.tolist() == sorted(found.rows.tolist())
    assert_close(found.cosines, table[found.rows, found.columns])
    assert found.cosines.sum() <= one_to_one(first, second).cosines.sum() <= 2 * found.cosines.sum()


def test_one_round_of_mutual_pairs_leaves_out_who_is_not_wanted() -> None:
    first = torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0]])
    second = torch.tensor([[1.0, 0.01], [-0.2, 1.0]])
    found = mutual_pairs(first, second, rounds=1)
    assert found.rows.tolist() == [0, 2] and found.columns.tolist() == [0, 1]
