"""A run's model, tokenizer and SAEs, loaded once and only when they are needed."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"

import shutil
from pathlib import Path

import pytest
import torch
from trained_run import BLOCK, HOOKPOINT, STREAM, make_job, train_run

from cluster.checkpoints import part_name
from cluster.workbench import Workbench
from shared.errors import UserError
from trainers import load_sae


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_run(make_job(tmp_path_factory.mktemp("bench")))


def test_parts_are_loaded_once(run_folder: Path) -> None:
    bench = Workbench.open(run_folder)
    assert bench.names == ("wide", "narrow")
    sae = bench.sae("narrow")
    assert sae is bench.sae("narrow") and sae.inputs == sae.targets == (HOOKPOINT,)
    assert torch.equal(sae.sae.W_dec, load_sae(run_folder / "saes" / "narrow").W_dec)
    assert bench.model is bench.model and bench.tokenizer is bench.tokenizer
    assert not any(one.requires_grad for one in bench.model.parameters())
    assert bench.features_folder("narrow") == run_folder / "features" / "narrow"


def test_text_is_encoded_as_in_training(run_folder: Path) -> None:
    bench = Workbench.open(run_folder)
    ids = bench.encode("A wheel turns")
    assert ids.tolist() == [0, *bench.tokenizer.encode("A wheel turns", add_special_tokens=False)]
    assert bench.excluded(ids).tolist() == [True] + [False] * (len(ids) - 1)
    assert "".join(bench.texts(ids)) == "<|endoftext|>A wheel turns"
    with torch.no_grad():
        assert bench.model(ids[None]).logits.shape[:2] == (1, len(ids))


def test_what_is_not_there_is_said(run_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is not a run folder: it has no job\.yaml"):
        Workbench.open(tmp_path)
    with pytest.raises(UserError, match="has no SAE named wider; it has wide, narrow"):
        Workbench.open(run_folder).sae("wider")


def test_a_run_in_training_gives_its_newest_checkpoint(run_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run_folder, folder, ignore=shutil.ignore_patterns("saes"))
    bench = Workbench.open(folder)
    old = bench.sae("wide")
    assert torch.allclose(old.sae.W_dec, load_sae(run_folder / "saes" / "wide").W_dec)
    later = folder / "checkpoints" / str(BLOCK + 5)
    shutil.copytree(folder / "checkpoints" / str(BLOCK), later)
    part = later / part_name("trainer-narrow", STREAM)
    assert part.is_dir()
    assert bench.sae("wide") is not old and bench.sae("wide") is bench.sae("wide")
