"""`headrace features collect` on a run of a tiny model."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from trained_run import BLOCK, HOOKPOINT, make_job, train_run
from transformers import AutoModelForCausalLM

from cluster import collection_pass
from cluster.collect_run import collect_run
from cluster.exit_code import exit_code
from features.context import BINS, SILENT, TOP
from features.settings import CollectionSettings
from features.store import FeatureStore, stored
from producers.producer import Chunk
from shared.config import Job
from trainers import load_sae


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    job = make_job(tmp_path_factory.mktemp("collected"))
    folder = train_run(job)
    options = ["--top", "5", "--per-bin", "2", "--silent", "40", "--window", "12"]
    assert exit_code(["features", "collect", str(folder), *options]) == 0
    return job


@pytest.fixture(scope="module")
def store(job: Job) -> FeatureStore:
    return FeatureStore.open(Path(job.output) / "features" / "wide")


def test_every_sae_of_the_run_has_its_store(job: Job, store: FeatureStore) -> None:
    assert stored(Path(job.output)) == ["narrow", "wide"]
    assert (store.meta.num_latents, store.meta.d_in, store.meta.inputs) == (64, 16, (HOOKPOINT,))
    assert store.catalog.num_rows == 64 and store.meta.tokens > 200
    fired = store.catalog.column("fired").to_numpy()
    assert fired.sum() <= 4 * store.meta.tokens and (fired > 0).mean() > 0.5


def test_acts_of_a_context_are_those_of_the_model_on_its_document(job: Job, store: FeatureStore) -> None:
    """A context that begins where the model's context does is all that the model saw before its tokens."""
    model, sae = AutoModelForCausalLM.from_pretrained(job.model.name), load_sae(Path(job.output) / "saes" / "wide")
    checked = 0
    for latent in range(0, 64, 4):
        for context in store.contexts(latent):
            if context.start == 0:
                with torch.no_grad():
                    hidden = model(torch.from_numpy(context.tokens.astype(np.int64))[None], output_hidden_states=True)
                    acts = sae.encode(hidden.hidden_states[2])[0, :, latent]
                acts[torch.from_numpy(context.tokens == 0)] = 0  # special tokens are no rows
                torch.testing.assert_close(torch.from_numpy(context.acts.copy()), acts, rtol=1e-3, atol=1e-3)
                checked += 1
    assert checked > 5


def test_contexts_are_in_order_and_of_one_document_each(store: FeatureStore) -> None:
    for latent in range(64):
        contexts = store.contexts(latent)
        top = [one for one in contexts if one.group == TOP]
        assert [one.rank for one in top] == list(range(len(top)))
        assert [one.max_act for one in top] == sorted((one.max_act for one in top), reverse=True)
        assert len({one.document for one in top}) == len(top) <= 5
        record = store.record(latent)
        if top:
            assert top[0].max_act == record.max_act and record.fired > 0
        for one in contexts:
            assert one.acts[one.position - one.start] == one.max_act == one.acts.max()
            assert len(one.tokens) == len(one.acts) <= 12 and one.group in (TOP, *BINS)


def test_silent_contexts_are_of_windows_without_the_latent(store: FeatureStore) -> None:
    silent = store.silent(3, 10)
    assert len(silent) == 10 and {one.group for one in silent} == {SILENT}
    assert {one.split for one in store.silent(3, 100, "judge")} == {"judge"}
    assert [one.document for one in store.silent(3, 10, seed=1)] != [one.document for one in silent]


def test_ablation_share_is_the_rise_of_fvu_where_a_latent_is_silenced(job: Job, store: FeatureStore) -> None:
    share = store.catalog.column("fvu_share").to_numpy(zero_copy_only=False)
    fired = store.catalog.column("fired").to_numpy()
    assert (share[fired == 0] == 0).all() and 0.1 < np.nansum(share) < 3
    assert np.nanmean(share[fired > 20] > 0) > 0.9


def test_a_collection_that_was_interrupted_goes_on(job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is stopped at the last of three units, when two have been saved."""
    run = tmp_path / "run"
    run.mkdir()
    for name in ("job.yaml", "saes", "checkpoints"):
        (run / name).symlink_to(Path(job.output) / name)
    options = CollectionSettings(5, 2, 40, 12)
    encode = collection_pass.CollectionPass._encoded

    def stop_at_the_third(self: collection_pass.CollectionPass, chunk: Chunk) -> object:
        if chunk.unit == 2:
            raise KeyboardInterrupt
        return encode(self, chunk)

    monkeypatch.setattr(collection_pass.CollectionPass, "_encoded", stop_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        collect_run(run, job, (), 10**6, options, save_s=0)
    assert stored(run) == []
    monkeypatch.undo()
    done = collect_run(run, job, (), 10**6, options)
    assert 0 < done.went_on_from < done.rows and not (run / "features" / ".collecting").exists()
    for name in ("wide", "narrow"):
        for file in ("catalog.parquet", "contexts.parquet", "silent.parquet"):
            straight = pq.read_table(Path(job.output) / "features" / name / file)
            assert pq.read_table(run / "features" / name / file).equals(straight), (name, file)


def test_a_run_in_training_is_collected_as_of_its_checkpoint(job: Job, store: FeatureStore, tmp_path: Path) -> None:
    for name in ("job.yaml", "checkpoints"):
        (tmp_path / name).symlink_to(Path(job.output) / name)
    done = collect_run(tmp_path, job, ["wide"], 10**6, CollectionSettings(5, 2, 40, 12))
    assert done.checkpoint == BLOCK and done.rows == store.meta.tokens
    early = FeatureStore.open(done.folders["wide"])
    assert early.meta.checkpoint == BLOCK and store.meta.checkpoint is None
    latent = int(np.argmax(store.catalog.column("fired").to_numpy()))
    assert early.record(latent).max_act == pytest.approx(store.record(latent).max_act, rel=1e-4)


def test_what_cannot_be_collected_is_a_sentence(job: Job, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(["features", "collect", job.output, "--sae", "nope"]) == 2
    assert "has no SAE named nope" in capsys.readouterr().err
    assert exit_code(["features", "collect", job.output, "--source", "/none"]) == 2
    assert "/none" in capsys.readouterr().err


def test_json_says_what_was_done(job: Job, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(["features", "collect", job.output, "--sae", "narrow", "--tokens", "100", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["tokens"] >= 100 and list(facts["folders"]) == ["narrow"]
    FeatureStore.open(Path(facts["folders"]["narrow"]))
