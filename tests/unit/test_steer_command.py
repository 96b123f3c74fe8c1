"""`headrace features steer`, on a model in which it is known what each latent does."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from planted_words import KINDS, LENGTH, NAMES, SAE, THRESHOLD, plant_and_collect

from cluster.exit_code import exit_code
from cluster.run_steer import Turn, steering_of
from cluster.workbench import Workbench
from features.effects import ablation, effects_of
from features.store import FeatureStore

PROMPT = " the of and to"


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return plant_and_collect(tmp_path_factory.mktemp("planted"))


def steer(run_folder: Path, capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    asked = ["features", "steer", str(run_folder), "--sae", SAE, "--prompt", PROMPT, "--temperature", "1"]
    assert exit_code([*asked, *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def share(text: str, kind: int) -> float:
    words = text.split()
    return sum(word in KINDS[NAMES[kind]] for word in words) / max(1, len(words))


@pytest.mark.parametrize("kind", [1, 2, 3, 4])
def test_a_latent_turned_up_writes_its_kind(kind: int, run_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = steer(run_folder, capsys, "--latent", str(kind), "--strength", "3", "--new-tokens", "30")
    (sample,) = found["samples"]
    assert share(sample["baseline"], kind) < 0.3 and share(sample["steered"], kind) > 0.7
    assert sample["mean_kl"] > 0.5 and len(sample["kl"]) == len(sample["steered_tokens"]) == 30
    assert found["steerings"][0]["one_is"] == pytest.approx(LENGTH - THRESHOLD, abs=0.5)


def test_more_of_it_writes_more_of_its_kind(run_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [part for word in KINDS["colours"] for part in ("--target", f" {word}")]
    asked = ["--latent", "2", "--dose", "0,0.5,1,2,4", "--new-tokens", "25", "--samples", "6"]
    found = steer(run_folder, capsys, *asked, *words)
    assert {one.strip() for one in found["targets"]} == set(KINDS["colours"])
    likely = [one["target_probability"] for one in found["doses"]]
    shares = [one["target_share"] for one in found["doses"]]
    assert likely == sorted(likely) and shares == sorted(shares) and shares[-1] > 0.8 > 0.2 > shares[0]
    assert found["doses"][0]["kl"] == 0 and len(found["doses"][0]["written"]) == 6
    by_default = steer(run_folder, capsys, *asked)
    assert {one.strip() for one in by_default["targets"]} >= set(KINDS["colours"])


def test_two_latents_and_modes_act_together(run_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--latent", "1", "--latent", "0", "--mode", "add", "--mode", "ablate", "--strength", "3"]
    found = steer(run_folder, capsys, *words, "--new-tokens", "30")
    assert share(found["samples"][0]["steered"], 1) > 0.9
    assert [one["mode"] for one in found["steerings"]] == ["add", "ablate"]


def test_steering_with_nothing_writes_the_baseline(run_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (sample,) = steer(run_folder, capsys, "--latent", "1", "--strength", "0")["samples"]
    assert sample["baseline"] == sample["steered"] and sample["mean_kl"] == 0


def test_taking_a_latent_away_unteaches_its_kind(run_folder: Path) -> None:
    bench = Workbench.open(run_folder)
    ids = bench.encode(" the cat dog horse of")[None]
    sae = bench.sae(SAE)
    found = effects_of(bench.model, bench.tokenizer, [ablation(sae.sae, sae.inputs[0], 1)], ids)
    votes = bench.texts(found.up_logits.ids[0, 2])
    assert {one.strip() for one in votes} <= set(KINDS["animals"]), "after cat the latent votes for animals"
    assert found.loss_rise[0, 3] > 0.5 and (found.kl[0, 2:5] > 0.5).all(), "horse comes as a surprise"
    assert not found.kl[0, :2].any(), "the latent is silent there"


def test_strength_is_in_units_of_the_largest_activation(run_folder: Path) -> None:
    bench = Workbench.open(run_folder)
    largest = FeatureStore.open(bench.features_folder(SAE)).record(3).max_act
    assert steering_of(bench, Turn(SAE, 3)).unit == largest > 3
    assert steering_of(bench, Turn(SAE, 3, unit="absolute")).unit == 1.0
    assert steering_of(bench, Turn(SAE, 3, mode="scale")).unit == 1.0


def test_the_page_can_stream_while_it_is_steered(run_folder: Path) -> None:
    from features.comparison import judged, steered_stream
    from features.generation import Sampling, generate

    bench, sampling = Workbench.open(run_folder), Sampling(12, 1.0)
    steerings, prompt = [steering_of(bench, Turn(SAE, 1, strength=3.0))], bench.encode(PROMPT)
    with bench.in_use:
        tokens = list(steered_stream(bench.model, bench.tokenizer, prompt, steerings, sampling))
        baseline = generate(bench.model, prompt, sampling)
    steered = [torch.stack(tokens, dim=1)[0]]
    found = judged(bench.model, bench.tokenizer, prompt, steerings, baseline, steered)
    assert len(tokens) == 12 and (found.kl[0] > 0).all()
    assert not bench.model._forward_hooks and not bench.model._forward_pre_hooks


def test_it_prints_side_by_side_and_a_line_a_dose(run_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["features", "steer", str(run_folder), "--sae", SAE, "--prompt", PROMPT, "--latent", "1"]
    asked += ["--new-tokens", "5"]
    assert exit_code(asked) == 0
    assert "as it is" in (said := capsys.readouterr().out) and "KL" in said and f"{SAE} · latent 1 · add 1" in said
    assert exit_code([*asked, "--dose", "0,2", "--samples", "2"]) == 0
    assert "dose" in (said := capsys.readouterr().out) and "' cat'" in said


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ["--latent", "1", "--mode", "clamp"],
            "add, set, set_if_active, scale, ablate, got 'clamp'",
        ),
        (
            ["--latent", "1", "--dose", "1,two"],
            "must be numbers with commas between, such as 0,1,2; got '1,two'",
        ),
        (["--latent", "1", "--strength", "1", "--strength", "2"], "--strength must be given once, or 1 times"),
        (["--latent", "12"], "latent must be from 0 to 11, got 12"),
        (["--latent", "7"], "latent 7 of planted never fired, so it has no largest activation"),
        (["--latent", "1", "--unit", "max_act"], "unit must be max or absolute, got 'max_act'"),
        (["--latent", "1", "--on", "none"], "on must be prompt, generated or both, got 'none'"),
        (["--latent", "1", "--target", " cat"], "--target is counted at each dose: give --dose too"),
        (
            ["--latent", "1", "--dose", "1", "--target", " cat cat"],
            "--target must be one token, got ' cat cat', of which",
        ),
        (["--latent", "1", "--mode", "ablate", "--dose", "1"], "there is no dose of ablate: use scale"),
    ],
)
def test_what_cannot_be_is_one_sentence(
    words: list[str], sentence: str, run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code(["features", "steer", str(run_folder), "--sae", SAE, "--prompt", PROMPT, *words]) == 2
    assert sentence in " ".join(capsys.readouterr().err.split())
