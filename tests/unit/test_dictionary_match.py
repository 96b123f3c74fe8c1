"""What two dictionaries share, where it is known how one was made from the other."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from trainers import dictionary_match, latent_matching
from trainers.dictionary_match import (
    chance_cosine,
    is_assigned_exactly,
    match_dictionaries,
    splits,
    without_counterpart,
)


def directions(num: int, d: int, seed: int = 0) -> Tensor:
    return torch.randn(num, d, generator=torch.Generator().manual_seed(seed))


def near(direction: Tensor, cosine: float, seed: int) -> Tensor:
    """A direction at `cosine` to another."""
    unit = direction / direction.norm()
    noise = directions(1, len(unit), seed)[0]
    noise -= noise @ unit * unit
    return cosine * unit + (1 - cosine**2) ** 0.5 * noise / noise.norm()


@pytest.fixture
def family() -> tuple[Tensor, Tensor]:
    """Four latents; of seven wider ones the first is there again, the second split in three, the third left out."""
    small = torch.eye(16)[:4] * torch.tensor([1.0, 2.0, 3.0, 4.0])[:, None]
    children = [near(small[1], cosine, seed) for seed, cosine in enumerate((0.8, 0.9, 0.85))]
    large = torch.stack([small[0] * 5, *children, near(small[3], 0.6, 9), torch.eye(16)[10], -torch.eye(16)[2]])
    return small, large


def test_a_family_is_told_apart(family):
    match = match_dictionaries(*family)
    assert match.first.columns[:2].tolist() == [0, 2]
    assert match.mmcs[0] == pytest.approx((1 + 0.9 + match.first.cosines[2].item() + 0.6) / 4, abs=1e-6)
    assert without_counterpart(match.first).tolist() == [2, 3]
    assert without_counterpart(match.second).tolist() == [4, 5, 6]
    found = splits(match.second)
    assert found.latents.tolist() == [1]
    assert found.children[0].tolist() == [2, 3, 1]
    assert found.cosines[0].tolist() == pytest.approx([0.9, 0.85, 0.8])


def test_a_threshold_decides_what_is_the_same(family):
    match = match_dictionaries(*family)
    assert splits(match.second, same=0.86).latents.tolist() == []
    assert without_counterpart(match.first, same=0.5).tolist() == [2]


def test_pairs_are_by_size_and_keep_their_sign(family):
    match = match_dictionaries(*family)
    pairs = dict(zip(match.pairs.rows.tolist(), match.pairs.columns.tolist(), strict=True))
    assert match.is_exact and pairs == {0: 0, 1: 2, 2: 6, 3: 4}
    assert match.pairs.cosines.tolist() == pytest.approx([1, 0.9, -1, 0.6], abs=1e-6)
    assert match.mcc == pytest.approx(3.5 / 4)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_mcc_is_saelens_own():
    first, second = directions(24, 12), directions(40, 12, seed=1)
    from sae_lens.synthetic.evals import mean_correlation_coefficient

    assert match_dictionaries(first, second).mcc == pytest.approx(mean_correlation_coefficient(first, second), abs=1e-6)


def test_what_is_too_large_for_an_exact_assignment_has_mutual_pairs(family, monkeypatch):
    exact = match_dictionaries(*family)
    monkeypatch.setattr(dictionary_match, "EXACT_COSINES", 10)
    match = match_dictionaries(*family)
    assert not match.is_exact and torch.equal(match.pairs.columns, exact.pairs.columns)
    assert match.mcc == pytest.approx(exact.mcc)


def test_a_latent_without_a_pair_counts_as_nothing(monkeypatch):
    monkeypatch.setattr(dictionary_match, "EXACT_COSINES", 0)
    monkeypatch.setattr(
        dictionary_match, "mutual_pairs", lambda *both, **how: latent_matching.mutual_pairs(*both, **how, rounds=1)
    )
    small = torch.tensor([[1.0, 0.0], [1.0, 0.1]])
    match = match_dictionaries(small, torch.tensor([[1.0, 0.0], [1.0, -0.1]]))
    assert match.pairs.rows.tolist() == [0] and match.mcc == pytest.approx(0.5)


def test_only_small_dictionaries_are_assigned_exactly():
    assert is_assigned_exactly(4096, 16384) and is_assigned_exactly(16384, 4096)
    assert not is_assigned_exactly(8192, 16384) and not is_assigned_exactly(512, 2**20)


def test_random_dictionaries_are_as_near_as_chance_has_it():
    match = match_dictionaries(directions(500, 256), directions(2000, 256, seed=1))
    assert match.chance == (chance_cosine(2000, 256), chance_cosine(500, 256))
    assert match.mmcs == pytest.approx(match.chance, rel=0.15)
    assert len(without_counterpart(match.first)) == 500 and len(splits(match.second).latents) == 0


class Largest(TorchDispatchMode):
    """Watches how large the tensors are that torch makes."""

    numel = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **kwargs or {})
        for one in made if isinstance(made, (tuple, list)) else [made]:
            self.numel = max(self.numel, one.numel() if isinstance(one, Tensor) else 0)
        return made


def test_no_more_cosines_than_agreed_are_held_at_once(monkeypatch):
    """All of these would be 8 million."""
    monkeypatch.setattr(latent_matching, "PIECE_COSINES", 2**16)
    monkeypatch.setattr(dictionary_match, "EXACT_COSINES", 0)
    first, second = directions(2**11, 8), directions(2**12, 8, seed=1)
    with Largest() as seen:
        match = match_dictionaries(first, second)
    assert len(match.second.columns) == 2**12
    assert 2**16 <= seen.numel < 2**17
