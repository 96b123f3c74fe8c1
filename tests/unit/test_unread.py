"""Which text no SAE of a run has read."""

import json
from pathlib import Path

import pytest

from cluster.unread import unread_units
from producers.corpus import Corpus
from producers.fresh_text import FreshText
from shared.config import CorpusConfig
from shared.errors import CheckpointError


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    for number in range(40):
        (tmp_path / f"{number}.txt").write_text(f"text number {number} " * 30)
    config = CorpusConfig(source=str(tmp_path), context_tokens=32, unit_contexts=16, epochs=2)
    return Corpus.open(config, 0, 0.2)


def test_units_that_were_never_leased_are_unread(corpus: Corpus, tmp_path: Path) -> None:
    lanes = [{"next_unit": 2}, {"next_unit": 1}]
    (tmp_path / "ledger.json").write_text(json.dumps({"lanes": lanes}))
    found = list(unread_units(tmp_path, corpus, None))
    assert corpus.num_first_units >= 6 and corpus.num_units == 2 * corpus.num_first_units
    assert found == [unit for unit in range(corpus.num_first_units) if unit not in (0, 1, 2)]


def test_later_epochs_repeat_what_was_read(corpus: Corpus, tmp_path: Path) -> None:
    (tmp_path / "ledger.json").write_text(json.dumps({"lanes": [{"next_unit": corpus.num_first_units}]}))
    assert list(unread_units(tmp_path, corpus, None)) == []


def test_of_a_checkpoint_units_beyond_the_head_are_unread(corpus: Corpus, tmp_path: Path) -> None:
    manifest = tmp_path / "checkpoints" / "4" / "manifest.json"
    manifest.parent.mkdir(parents=True)
    manifest.write_text(json.dumps({"lanes": {"lane-0": {"counters": {"head": 3}}}}))
    assert unread_units(tmp_path, corpus, 4)[0] == 4
    manifest.write_text("{")
    with pytest.raises(CheckpointError, match="is damaged"):
        unread_units(tmp_path, corpus, 4)


def test_a_run_that_does_not_say_has_only_what_was_held_out(corpus: Corpus, tmp_path: Path) -> None:
    assert list(unread_units(tmp_path, corpus, None)) == []


def test_a_ledger_from_before_an_sae_had_finished_does_not_say_what_that_has_read(
    corpus: Corpus, tmp_path: Path
) -> None:
    """It finished, the job went back to a checkpoint from before that, and stopped there."""
    facts = {"lanes": [{"next_unit": 2}], "trainers": [{"name": "a", "read": 500}, {"name": "b", "read": 500}]}
    (tmp_path / "ledger.json").write_text(json.dumps(facts))
    assert list(unread_units(tmp_path, corpus, None, {"a": 900})) == []
    assert unread_units(tmp_path, corpus, None, {"a": 500})[0] == 2


def test_fresh_text_is_what_was_held_out_and_then_the_units(corpus: Corpus) -> None:
    fresh = FreshText(corpus, [5, 3])
    held = corpus.num_held_out_units
    assert held > 0 and fresh.num_units == held + 2
    assert list(fresh.documents(0)) == list(corpus.held_out(0))
    assert list(fresh.documents(held)) == list(corpus.documents(5))
    read = {one.text for unit in range(corpus.num_first_units) for one in corpus.documents(unit)}
    assert not read & {one.text for unit in range(held) for one in fresh.documents(unit)}
