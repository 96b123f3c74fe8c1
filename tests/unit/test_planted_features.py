"""Directions that are known to mean something are found by collecting and searching, and proven by taking them away."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from planted_run import CLASSES, class_of, planted_run, tokens_of

from cluster.exit_code import exit_code
from cluster.feature_search import FeatureSearch
from cluster.text_anomaly import anomalies
from cluster.workbench import Workbench
from features.context import TOP
from features.contrast import ContrastSet
from features.labels import Labels
from features.store import FeatureStore
from shared.errors import UserError

WITH, WITHOUT = ("www www wwww", "wwww www ww www", "ww www ww wwww www"), ("eee tt eee", "ttt eee tttt ee", "ee ttt e")
"""Prompts of tokens of the first class that go on, and of no class."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = planted_run(tmp_path_factory.mktemp("planted"))
    assert exit_code(["features", "collect", str(run), "--top", "5", "--window", "16", "--silent", "60"]) == 0
    return run


@pytest.fixture(scope="module")
def store(run: Path) -> FeatureStore:
    return FeatureStore.open(run / "features" / "planted")


@pytest.fixture(scope="module")
def searcher(run: Path) -> FeatureSearch:
    return FeatureSearch(Workbench.open(run), ["planted"])


@pytest.fixture(scope="module")
def shown(store: FeatureStore) -> list[str]:
    return tokens_of(store.meta.model)


def test_each_latent_fires_on_its_class_and_on_nothing_else(store: FeatureStore, shown: list[str]) -> None:
    for number in range(len(CLASSES)):
        contexts = store.contexts(number)
        assert len([one for one in contexts if one.group == TOP]) >= 5
        for one in contexts:
            classes = np.array([class_of(shown[token]) for token in one.tokens], object)
            assert ((one.acts > 0) == (classes == number)).all()
        for one in store.silent(number, 20):
            assert all(class_of(shown[token]) != number for token in one.tokens)
    assert store.catalog.column("fired").to_numpy()[len(CLASSES) :].sum() == 0


def test_a_latent_promotes_the_tokens_of_its_class(store: FeatureStore, shown: list[str]) -> None:
    for number in range(len(CLASSES)):
        known = sum(class_of(token) == number for token in shown)
        promoted = [class_of(shown[one]) for one in store.record(number).promoted_ids]
        assert promoted[:known] == [number] * min(known, 10)


def test_the_other_size_has_the_same_latents(store: FeatureStore) -> None:
    for number in range(len(CLASSES)):
        (nearest, *_) = store.neighbors(number)["half"]
        assert nearest.latent == number and nearest.cosine == pytest.approx(1, abs=1e-5)


def test_words_find_the_latent_that_fires_on_them(run: Path, searcher: FeatureSearch) -> None:
    for number, letter in enumerate(CLASSES):
        first = searcher.by_words(letter, 5)[0]
        assert first.latent == number and first.numbers["share"] == pytest.approx(1, abs=0.02)
        assert letter in first.context[1]
    Labels(run / "features" / "planted").add(2, "opening brackets", ("syntax",))
    labelled = FeatureSearch(Workbench.open(run), ["planted"])
    assert [(one.latent, one.label) for one in labelled.by_words("Brackets", 5)] == [(2, "opening brackets")]


def test_contrast_finds_the_latent_and_taking_it_away_proves_it(searcher: FeatureSearch) -> None:
    (first, *_) = searcher.by_contrast(ContrastSet("w", "", WITH, WITHOUT), 3, max_density=0.5)
    assert first.latent == 0 and (first.numbers["positive_share"], first.numbers["negative_share"]) == (1, 0)
    loss_with, loss_without = (first.numbers[f"loss_rise_{side}"] for side in ("positive", "negative"))
    assert loss_with is not None and loss_with > 0.5 and abs(loss_without or 0) < 1e-3, (loss_with, loss_without)


def test_what_fires_too_often_is_left_out_of_a_contrast(searcher: FeatureSearch) -> None:
    assert searcher.by_contrast(ContrastSet("w", "", WITH, WITHOUT), 3, max_density=1e-6, check=False) == []


def test_a_direction_finds_its_latent(searcher: FeatureSearch, store: FeatureStore, tmp_path: Path) -> None:
    assert searcher.by_direction("half/1", 2)[0].latent == 1
    directions = np.eye(32, dtype=np.float32)
    np.save(tmp_path / "direction.npy", directions[0])
    assert len(searcher.by_direction(str(tmp_path / "direction.npy"), 4)) == 4
    with pytest.raises(UserError, match="is neither SAE/LATENT"):
        searcher.by_direction("half/x", 2)
    np.save(tmp_path / "nothing.npy", np.zeros(32, np.float32))
    with pytest.raises(UserError, match="holds zeros alone"):
        searcher.by_direction(str(tmp_path / "nothing.npy"), 2)
    np.save(tmp_path / "short.npy", directions[0, :5])
    with pytest.raises(UserError, match="has 5 values"):
        searcher.by_direction(str(tmp_path / "short.npy"), 2)


def test_text_that_is_not_as_usual_is_odd(run: Path) -> None:
    """Brackets are rare in what was collected from."""
    bench = Workbench.open(run)
    (usual,) = anomalies(bench, ["planted"], "The headrace carries water from the weir to the wheels of the mill.")
    (odd,) = anomalies(bench, ["planted"], "((((((((((")
    assert odd.score > usual.ordinary_scores[1] > usual.score and {one.latent for one in odd.tokens} == {2}


def test_the_command_tells_of_each_search(run: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    pairs = [{"with": one, "without": other} for one, other in zip(WITH, WITHOUT, strict=True)]
    (tmp_path / "w.json").write_text(json.dumps({"pairs": pairs}))
    options = ["--sae", "planted", "--max-density", "0.5", "--json"]
    assert exit_code(["features", "search", str(run), "--contrast", str(tmp_path / "w.json"), *options]) == 0
    assert json.loads(capsys.readouterr().out)[0]["latent"] == 0
    assert exit_code(["features", "search", str(run), "w", "--sae", "planted"]) == 0
    assert "on words" in capsys.readouterr().out
    assert exit_code(["features", "search", str(run), "--odd", "((((", "--sae", "planted"]) == 0
    assert "ordinary text" in capsys.readouterr().out
    assert exit_code(["features", "search", str(run)]) == 2
    assert "search needs exactly one of WORDS, --contrast, --like, --odd" in capsys.readouterr().err
    assert exit_code(["features", "search", str(run), " "]) == 2
    assert "WORDS must hold a letter or a sign" in capsys.readouterr().err
    assert exit_code(["features", "search", str(run), "--contrast", "nope"]) == 2
    assert "dangerous_content" in capsys.readouterr().err


def test_patterns_show_what_is_clear_first(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A latent fires on several tokens of its class: the fewer there are, the clearer it is."""
    assert exit_code(["features", "score", str(run), "--sae", "planted"]) == 0
    capsys.readouterr()
    assert exit_code(["features", "show", str(run), "--sae", "planted", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    clarity = [_clarity(one["explanations"][0]) for one in found]
    assert {one["latent"] for one in found} == set(range(len(CLASSES)))
    assert clarity == sorted(clarity, reverse=True) and clarity[0] > 0.5, clarity


def _clarity(explained: dict[str, Any]) -> float:
    ends: Counter[int] = Counter()
    for pattern in explained["facts"]["patterns"]:
        ends[pattern["tokens"][-1]] += pattern["windows"]
    return explained["scores"][0]["value"] * ends.most_common(1)[0][1] / ends.total()
