"""Contrast between sets of prompts; the ready sets; odd values among ordinary ones."""

import json
from pathlib import Path

import numpy as np
import pytest

from features.anomaly import Oddness, rareness, rarity, surprise
from features.contrast import contrast, load_set, ready_sets
from shared.errors import UserError


def test_the_strongest_difference_comes_first_and_what_fires_everywhere_is_left_out() -> None:
    positive = np.array([[3.0, 1.0, 5.0, 9.0, 0.0], [1.0, 1.0, 5.0, 9.0, 0.0]])
    negative = np.array([[0.0, 0.0, 0.0, 1.0, 2.0], [0.0, 0.0, 0.0, 1.0, 2.0]])
    density = np.array([0.01, 0.01, 0.5, 0.01, 0.01])
    found = contrast(positive, negative, density, np.array([1.0, 4.0, 1.0, 1.0, 1.0]))
    assert [one.latent for one in found] == [1, 0]
    assert found[0].difference == 4 and found[0].standardised == float("inf")
    assert found[1].difference == 2 and found[1].standardised == pytest.approx(2.0)
    assert (found[1].positive_share, found[1].negative_share, found[1].density) == (1, 0, 0.01)


def test_every_ready_set_has_pairs_that_differ() -> None:
    names = ("bias", "dangerous_content", "deception", "lying", "security_vulnerabilities", "sycophancy")
    assert ready_sets() == names
    for name in names:
        found = load_set(name)
        assert found.name == name and found.description and len(found.positive) == len(found.negative) >= 10
        assert not set(found.positive) & set(found.negative)
        assert all(text == text.strip() and text for text in (*found.positive, *found.negative))


def test_a_set_of_another_form_is_refused(tmp_path: Path) -> None:
    for wrong in ({"pairs": []}, {"pairs": [{"with": "a"}]}, []):
        (tmp_path / "set.json").write_text(json.dumps(wrong))
        with pytest.raises(UserError, match="must hold"):
            load_set(str(tmp_path / "set.json"))


def test_surprise_is_minus_log10_of_the_share_that_is_as_odd() -> None:
    ordinary = Oddness(np.arange(99.0), np.zeros(99))
    found = surprise(Oddness(np.array([200.0, 89.0, -1.0]), np.array([0.0, 0.0, 1.0])), ordinary)
    np.testing.assert_allclose(found.error, [2.0, -np.log10(11 / 100), 0.0])
    np.testing.assert_allclose(found.rarity, [0.0, 0.0, 2.0])
    assert found.score == pytest.approx((2.0 - np.log10(11 / 100) + 2.0) / 3)


def test_rarity_weighs_latents_by_their_activations() -> None:
    rare = rareness(np.array([0.1, 0.001, 0.0]), 50)
    np.testing.assert_allclose(rare, [1, 2, 2])
    np.testing.assert_allclose(rarity(np.array([[3.0, 1.0, 0.0], [0.0, 0.0, 0.0]]), rare), [1.25, 0])
