import torch

from trainers.firing import Firing


def counts(*fired: int) -> torch.Tensor:
    return torch.tensor(fired)


def test_dead_is_counted_in_tokens_not_in_batches() -> None:
    few, many = Firing(2, 100, 1000), Firing(2, 100, 1000)
    for _ in range(10):
        few.update(counts(1, 0), 10)
    many.update(counts(1, 0), 100)
    assert few.dead().tolist() == many.dead().tolist() == [1]
    assert few.dead_fraction == 0.5


def test_a_latent_that_fires_again_is_alive() -> None:
    firing = Firing(2, 100, 1000)
    firing.update(counts(0, 1), 100)
    assert firing.dead().tolist() == [0]
    firing.update(counts(3, 0), 50)
    assert firing.dead().tolist() == []
    firing.update(counts(0, 0), 50)
    assert firing.dead().tolist() == [1]


def test_frequencies_cover_the_last_two_windows() -> None:
    firing = Firing(1, 100, window_tokens=10)
    for fired in (10, 10, 5, 0):
        firing.update(counts(fired), 10)
    assert firing.frequencies().tolist() == [0.25]


def test_frequencies_before_the_first_batch_are_zero() -> None:
    assert Firing(3, 100, 10).frequencies().tolist() == [0, 0, 0]
