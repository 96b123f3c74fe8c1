"""Every architecture finds a dictionary that is known: as many latents as features, and the right sparsity.

Gates: features that lie apart, MCC and mean greatest cosine above 0.95; four times as many features as dimensions,
mean greatest cosine above 0.9. A dictionary drawn at random comes nowhere near either.
"""

from typing import Any

import pytest
import torch

from benchmarks.contenders import LEFT_OUT, not_listed
from benchmarks.learning import learn, recovered
from benchmarks.recovery import Recovery, compare_directions
from benchmarks.synthetic import Truth, correlated, hierarchical, independent, zipf
from shared.trainer_config import TRAINER_CONFIGS, TrainerConfig
from trainers.architectures import ARCHITECTURES

APART = independent("apart", 16, 16, active=2.0)
SUPERPOSED = independent("superposed", 96, 24, active=2.0)
ZIPF, CORRELATED = zipf(96, 24, active=2.0), correlated(96, 24, active=2.0)
HIERARCHICAL = hierarchical(98, 24, active=2.0)
CHAINS = HIERARCHICAL.chains
ROWS = {APART.name: 100_000, SUPERPOSED.name: 200_000}

TOPK: dict[str, Any] = {"k": 2, "lr": 1e-2, "dead_after_tokens": 20_000, "lr_decay_fraction": 0.2}
EAGER: dict[str, Any] = {"dead_after_tokens": 5_000, "auxk": 16, "k_anneal_fraction": 0.5, "k_anneal_from": 8}
TRANSCODER: dict[str, Any] = {"hookpoint": "h", "target_hookpoint": "g"}
KEYS: dict[str, dict[str, Any]] = {
    "topk": TOPK,
    "multi_topk": TOPK,
    "batch_topk": TOPK | EAGER,
    "matryoshka": TOPK | EAGER | {"group_fractions": (0.5, 0.5)},
    "relu_l1": {"l1_coefficient": 1.0, "lr": 1e-2},
    "relu_l1_2023": {"l1_coefficient": 0.3, "lr": 1e-2},
    "gated": {"l1_coefficient": 0.5, "lr": 1e-2},
    "p_anneal": {"l1_coefficient": 0.1, "lr": 1e-2},
    "kl": {"lr": 3e-2, "lr_decay_fraction": 0.3},
    "jumprelu": {
        "target_l0": 2.0,
        "threshold_init": 0.1,
        "bandwidth": 0.1,
        "l0_warmup_fraction": 0.5,
        "lr": 1e-2,
        "lr_decay_fraction": 0.3,
    },
    "jumprelu_tanh": {"sparsity_coefficient": 0.7, "lr": 5e-3, "accumulate": 1},
    "transcoder, topk": TRANSCODER | TOPK,
    "transcoder, relu_l1": TRANSCODER | {"activation": "relu_l1", "l1_coefficient": 0.5, "lr": 1e-2},
    "crosscoder, topk": {"activation": "topk"} | TOPK,
    "crosscoder, relu_l1": {"l1_coefficient": 1.0, "lr": 1e-2},
}
"""Of each architecture, for activations scaled as is its default."""
APART_KEYS: dict[str, dict[str, Any]] = {
    "topk": {"lr": 3e-3},
    "batch_topk": {"lr": 3e-3, "k_anneal_fraction": 0.0},
    "matryoshka": {"lr": 3e-3, "k_anneal_fraction": 0.0},
    "crosscoder, topk": {"k_anneal_fraction": 0.6, "k_anneal_from": 8},
    "kl": {"rho": 0.125, "weight_decay": 1e-2},
    "jumprelu_tanh": {"sparsity_coefficient": 1.0},
}
SUPERPOSED_KEYS: dict[str, dict[str, Any]] = {
    "relu_l1": {"l1_coefficient": 2.0},
    "gated": {"l1_coefficient": 0.6},
    "p_anneal": {"l1_coefficient": 0.35},
    "kl": {"rho": 0.02, "weight_decay": 1e-3},
}
SUPERPOSED_MCC = {"jumprelu": 0.8, "batch_topk": 0.8, "matryoshka": 0.8}
"""In runs this short these leave some features two latents; else 0.9."""


def found(architecture: str, truth: Truth, keys: dict[str, Any], num_rows: int | None = None) -> Recovery:
    name = architecture.partition(",")[0]
    shared = {"name": "t", "architecture": name, "num_latents": truth.num_features, "batch_rows": 256}
    config: TrainerConfig = TRAINER_CONFIGS[name].model_validate(shared | KEYS[architecture] | keys)
    sites = {"h": truth, "g": truth.elsewhere(5)} if "coder" in name else {"h": truth}
    (sae,) = learn([config], sites, num_rows or ROWS[truth.name])
    return recovered(sae, config, sites, num_rows=10_000)


def test_every_architecture_is_here_and_in_the_benchmark() -> None:
    assert {name.partition(",")[0] for name in KEYS} == ARCHITECTURES.keys() - LEFT_OUT
    assert not_listed() == set()


@pytest.mark.parametrize("architecture", KEYS)
def test_features_that_lie_apart_are_found_one_by_one(architecture: str) -> None:
    result = found(architecture, APART, APART_KEYS.get(architecture, {}))
    assert result.directions.mcc > 0.95
    assert result.directions.mmcs > 0.95
    assert result.firing.f1 > 0.7
    assert result.fvu < 0.25


@pytest.mark.parametrize("architecture", KEYS)
def test_features_in_superposition_are_found(architecture: str) -> None:
    result = found(architecture, SUPERPOSED, SUPERPOSED_KEYS.get(architecture, {}))
    assert result.directions.mmcs > 0.9
    assert result.directions.mcc > SUPERPOSED_MCC.get(architecture, 0.9)


@pytest.mark.parametrize(
    ("architecture", "truth"), [("relu_l1", ZIPF), ("topk", CORRELATED)], ids=["zipf", "correlated"]
)
def test_features_that_fire_unevenly_or_together_are_found(architecture: str, truth: Truth) -> None:
    result = found(architecture, truth, SUPERPOSED_KEYS.get(architecture, {}), num_rows=150_000)
    assert result.directions.mmcs > 0.9
    assert result.directions.mcc > 0.9


def test_features_that_never_fire_without_their_parents_are_found_together_with_them() -> None:
    """One latent for a feature and its parent is sparser than two, so true directions are not what a loss asks for."""
    sites = {"h": HIERARCHICAL}
    config = TRAINER_CONFIGS["relu_l1"].model_validate(
        {"name": "t", "architecture": "relu_l1", "num_latents": 98, "batch_rows": 256, "lr": 1e-2, "l1_coefficient": 4}
    )
    (sae,) = learn([config], sites, 100_000)
    decoder = sae.W_dec.detach()
    alone, together = (compare_directions(decoder, torch.from_numpy(one)) for one in (HIERARCHICAL.directions, CHAINS))
    assert together.mmcs > 0.9 and together.mcc > 0.85
    assert alone.mmcs < 0.8
    random = torch.randn(98, 24, generator=torch.Generator().manual_seed(0))
    assert compare_directions(random, torch.from_numpy(CHAINS)).mmcs < 0.7


@pytest.mark.parametrize(
    ("truth", "at_most"),
    [(APART, 0.7), (SUPERPOSED, 0.7), (ZIPF, 0.7), (CORRELATED, 0.7)],
    ids=lambda value: value.name if isinstance(value, Truth) else "",
)
def test_a_random_dictionary_fails(truth: Truth, at_most: float) -> None:
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        random = torch.randn(truth.num_features, truth.d_in, generator=generator)
        result = compare_directions(random, torch.from_numpy(truth.directions))
        assert max(result.mcc, result.mmcs, result.mmcs_latents) < at_most
        assert result.recovered < 0.1


def test_training_is_what_finds_them() -> None:
    result = found("topk", APART, {}, num_rows=512)
    assert max(result.directions.mcc, result.directions.mmcs) < 0.7
