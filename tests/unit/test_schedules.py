import pytest

from trainers.schedules import cosine_warmup, decay, learning_rate, warmup


def test_warmup_rises_linearly_and_stays() -> None:
    assert [warmup(fraction, 0.2) for fraction in (0.0, 0.1, 0.2, 1.0)] == [0.0, 0.5, 1.0, 1.0]


def test_no_warmup_starts_at_the_peak() -> None:
    assert warmup(0.0, 0.0) == 1.0


def test_a_cosine_rises_from_a_tenth() -> None:
    assert [cosine_warmup(fraction, 0.2) for fraction in (0.0, 0.1, 0.2, 1.0)] == pytest.approx([0.1, 0.55, 1.0, 1.0])
    assert cosine_warmup(0.05, 0.2) == pytest.approx(1 - 0.45 * (1 + 2**-0.5))
    assert learning_rate(0.0, 2.0, 0.1, 0.0, "cosine") == pytest.approx(0.2)
    assert cosine_warmup(0.0, 0.0) == 1.0


def test_decay_stays_and_falls_to_zero() -> None:
    assert [decay(fraction, 0.2) for fraction in (0.0, 0.8)] == [1.0, 1.0]
    assert decay(0.9, 0.2) == pytest.approx(0.5)
    assert decay(1.0, 0.2) == 0.0


def test_no_decay_ends_at_the_peak() -> None:
    assert decay(1.0, 0.0) == 1.0


def test_learning_rate_is_the_peak_times_both() -> None:
    assert learning_rate(0.05, 2.0, 0.1, 0.2) == pytest.approx(1.0)
    assert learning_rate(0.5, 2.0, 0.1, 0.2) == 2.0
    assert learning_rate(0.95, 2.0, 0.1, 0.2) == pytest.approx(0.5)
