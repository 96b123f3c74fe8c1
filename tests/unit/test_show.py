"""`headrace features show`: latents by number, or the first of a list, in a terminal of 80 letters a line."""

import json
from pathlib import Path
from typing import Any

import pytest
from collected_run import SAE, collected_run

from cluster.exit_code import exit_code
from features.store import FeatureStore


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """A run folder, and the latent that is told of."""
    folder = tmp_path_factory.mktemp("runs")
    return folder / "run", collected_run(folder)[1]


def shown(made: tuple[Path, int], capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert exit_code(["features", "show", str(made[0]), "--sae", SAE, *words]) == 0
    return capsys.readouterr().out


def facts(made: tuple[Path, int], capsys: pytest.CaptureFixture[str], *words: str) -> list[dict[str, Any]]:
    return json.loads(shown(made, capsys, *words, "--json"))


def test_all_about_a_latent(made, capsys):
    text = shown(made, capsys, "--latent", str(made[1]))
    head, *lines = text.splitlines()
    assert head.startswith(f"{SAE}/{made[1]}  fires on ") and "max" in head
    assert "label       water wheels  #mill  #safety:bias" in text
    assert "some-model  specificity 1.80, detection 0.75  words about mills" in text
    assert all(any(line.startswith(name) for line in lines) for name in ("likelier", "unlikelier", "nearest"))
    assert "'\\x" in text and "\ufffd" not in text, "pieces of letters are spelt as bytes"
    strongest = [line for line in lines if "⟦" in line]
    contexts = FeatureStore.open(made[0] / "features" / SAE).contexts(made[1])
    assert [line.split()[0] for line in strongest] == [f"{one.max_act:.3g}" for one in contexts if one.group == "top"]
    assert [line for line in lines if len(line.rstrip()) > 80] == []


def test_a_list_begins_with_what_scores_best_and_holds_latents_that_fire(made, capsys):
    first, *others = facts(made, capsys, "--count", "5")
    assert first["latent"] == made[1] and len(others) == 4 and not any(one["dead"] for one in others)
    brief = shown(made, capsys, "--count", "2", "--contexts", "1")
    assert brief.count("⟦") == 2 and "nearest" not in brief


def test_a_list_is_sorted_and_filtered(made, capsys):
    fired = [one["numbers"]["fired"] for one in facts(made, capsys, "--sort", "fired", "--ascending", "--count", "64")]
    assert fired == sorted(fired) and fired[0] > 0
    densities = [one["numbers"]["density"] for one in facts(made, capsys, "--max-density", "0.02", "--count", "64")]
    assert densities and max(densities) <= 0.02
    assert [one["latent"] for one in facts(made, capsys, "--tag", "mill")] == [made[1]]
    assert shown(made, capsys, "--tag", "none").strip() == "no latent is like that"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--sae", "wid"], "run run has no features of an SAE named wid; it has those of wide, narrow"),
        (["--sae", SAE, "--latent", "64"], "wide has latents 0 to 63, got 64"),
        (["--sae", SAE, "--latent", "1", "--tag", "mill"], "--latent names latents, and the options of a list choose"),
        (["--sae", SAE, "--sort", "size"], "sort must be one of latent, fired, density"),
    ],
)
def test_what_cannot_be_shown_is_said_in_a_sentence(made, capsys, words, said):
    assert exit_code(["features", "show", str(made[0]), *words]) == 2
    assert said in " ".join(capsys.readouterr().err.split())
