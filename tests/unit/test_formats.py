"""`headrace export` and `headrace import`, as they are typed."""

from pathlib import Path

import pytest
import torch
from sae_folders import topk_folder

from cluster.command_line import EXPORTS, IMPORTS
from cluster.exit_code import exit_code
from cluster.sae_labels import labels_of
from features.labels import Labels
from trainers import load_sae, read_facts
from trainers.formats import FORMATS, WRITABLE


def test_the_commands_know_the_formats_that_there_are() -> None:
    assert EXPORTS == WRITABLE and set(IMPORTS) == set(FORMATS)


def test_an_sae_goes_out_and_comes_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = topk_folder(tmp_path / "sae")
    assert exit_code(["export", str(folder), "--to", "sparsify", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'out' / 'h.1'}\n"
    words = ["import", str(tmp_path / "out"), str(tmp_path / "back"), "--model", "gpt2", "--hookpoint", "h.5"]
    assert exit_code(words) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'back'}\n"
    assert torch.equal(load_sae(tmp_path / "back").W_dec, load_sae(folder).W_dec)
    facts = read_facts(tmp_path / "back")
    assert facts.model_name == "gpt2" and facts.targets == ("h.5",)


def test_labels_go_with_the_sae_out_of_its_run_and_back(tmp_path: Path) -> None:
    folder = topk_folder(tmp_path / "run" / "saes" / "topk")
    features = tmp_path / "run" / "features" / "topk"
    features.mkdir(parents=True)
    Labels(features).add(3, "the word def", ["safety:none"], "me")
    assert exit_code(["export", str(folder), "--to", "sparsify", str(tmp_path / "out")]) == 0
    assert exit_code(["import", str(tmp_path / "out"), str(tmp_path / "back"), "--model", "m", "--hookpoint", "h"]) == 0
    assert exit_code(["export", str(tmp_path / "back"), "--to", "saelens", str(tmp_path / "again")]) == 0
    (found,) = tmp_path.glob("again/**/labels.jsonl")
    assert all(
        "(labels.jsonl)" in path.read_text() for path in (tmp_path / "back" / "README.md", found.parent / "README.md")
    )
    label = Labels(found.parent).of(3)
    assert label is not None and (label.text, label.tags, label.author) == ("the word def", ("safety:none",), "me")
    bare = topk_folder(tmp_path / "bare")
    assert labels_of(bare) is None
    assert exit_code(["export", str(bare), "--to", "saelens", str(tmp_path / "plain")]) == 0
    assert "labels" not in (tmp_path / "plain" / "README.md").read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["export", "nowhere", "--to", "sparsify", "out"], "there is no nowhere"),
        (["export", ".", "--to", "pytorch", "out"], "--to must be one of saelens, sparsify, got 'pytorch'"),
        (["export", ".", "--to", "openai", "out"], "--to must be one of saelens, sparsify, got 'openai'"),
        (["export", ".", "--to", "saelens", "out"], "cannot read cfg.json: No such file or directory"),
        (["import", "nowhere", "out"], "there is no nowhere"),
        (["import", ".", "--from", "keras", "out"], "--from must be one of saelens, sparsify, dictionary_learning, op"),
        (
            ["import", ".", "out"],
            ". holds no SAE in the format of saelens or sparsify or dictionary",
        ),
        (["import", "ae.pt", "--from", "openai", "out"], "ae.pt is a pickle, which can run any code when it is read"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(
    words: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({}, "ae.pt")
    assert exit_code(words) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(f"headrace: {said}") and captured.err.count("\n") == 1 and not captured.out
