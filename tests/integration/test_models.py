"""Jobs over models that are not the demo's: other architectures, several hookpoints in one pass, bfloat16 rows."""

from pathlib import Path

import pytest
import torch

from cluster.controller import Outcome
from tests.integration.scenario import TRAINERS, make_job, run
from tests.tiny_models import tiny_bert, tiny_llama
from trainers import load_sae, read_facts
from trainers.crosscoder import Crosscoder

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("own_ray")]

SMALL = {"tokens": 6000, "checkpoint": {"every_blocks": 100}, "stream__buffer_rows": 2000}


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_llama_with_two_hookpoints_in_one_pass(tmp_path: Path, corpus_folder: str) -> None:
    trainers = [
        {"name": "out", "architecture": "topk", "num_latents": 64, "k": 4, "hookpoint": "model.layers.1"},
        {"name": "into-mlp", "architecture": "relu_l1", "num_latents": 32, "hookpoint": "model.layers.2.mlp:in"},
        {
            "name": "from-one-to-the-other",
            "architecture": "skip_transcoder",
            "activation": "relu_l1",
            "num_latents": 32,
            "batch_rows": 100,
            "lr": 1e-2,
            "hookpoint": "model.layers.1",
            "target_hookpoint": "model.layers.2.mlp:in",
        },
        {"name": "of-both", "architecture": "crosscoder", "activation": "topk", "k": 8, "num_latents": 64},
    ]
    hookpoints = ("model.layers.1", "model.layers.2.mlp:in")
    model = {"name": str(tiny_llama(tmp_path / "llama")), "hookpoints": list(hookpoints)}
    job = make_job(tmp_path, "", corpus_folder, model={**model, "dtype": "bfloat16"}, trainers=trainers, **SMALL)
    seen = run(job)
    assert seen.outcome is Outcome.FINISHED and seen.imbalances == [] and len(seen.digests) == 1
    assert {name.rpartition(" ")[0] for name in seen.snapshot.scales} == set(hookpoints)

    from sae_lens import SAE

    x = torch.randn(32, 16)
    folders = {str(trainer["name"]): Path(job.output) / "saes" / str(trainer["name"]) for trainer in trainers}
    for name in ("out", "into-mlp", "from-one-to-the-other"):
        theirs = SAE.load_from_disk(str(folders[name]))
        torch.testing.assert_close(theirs(x), load_sae(folders[name])(x), rtol=1e-5, atol=1e-5)
    transcoder, both = (read_facts(folders[name]) for name in ("from-one-to-the-other", "of-both"))
    assert (transcoder.inputs, transcoder.targets) == (hookpoints[:1], hookpoints[1:])
    assert both.inputs == both.targets == hookpoints
    skipped = seen.snapshot.trainers["from-one-to-the-other"].fvu
    assert skipped is not None and skipped < 0.9
    crosscoder = load_sae(folders["of-both"])
    assert isinstance(crosscoder, Crosscoder) and crosscoder.decoder_norms().shape == (64, 2)
    assert crosscoder(torch.randn(32, 32)).shape == (32, 32)


def test_bert_is_an_encoder_and_works_through_the_same_file(tmp_path: Path, corpus_folder: str) -> None:
    model = {"name": str(tiny_bert(tmp_path / "bert")), "hookpoints": ["encoder.layer.1"]}
    job = make_job(tmp_path, "", corpus_folder, model=model, trainers=TRAINERS[2:], **SMALL)
    seen = run(job)
    assert seen.outcome is Outcome.FINISHED and seen.imbalances == []
    assert {one.rows for one in seen.snapshot.trainers.values()} == {6000}


def test_a_corpus_that_ends_early_ends_the_stream_on_every_lane(
    tmp_path: Path, gpt2_folder: str, corpus_folder: str
) -> None:
    changes = {"tokens": 10_000_000, "stream__lanes": 2, "corpus__source": corpus_folder + "/0*.txt"}
    changes |= {"trainers": TRAINERS[2:]}
    job = make_job(tmp_path, gpt2_folder, corpus_folder, **changes)
    seen = run(job)
    assert seen.outcome is Outcome.FINISHED and seen.imbalances == []
    (rows,) = {one.rows for one in seen.snapshot.trainers.values()}
    assert 10_000 < rows == sum(lane.counters.emitted for lane in seen.snapshot.lanes)
    assert any("corpus ended" in event for event in seen.events)
