"""Every number of an evaluation against a computation of its own: on all rows at once, on one context at a time."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"

import json
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from tiny_models import text, tiny_bert, tiny_gpt2
from torch import Tensor
from torch.nn import functional as F

from cluster.evaluation import Evaluation, Evaluator, Subject
from features import attach
from producers.corpus import Corpus
from producers.held_out import HeldOutText
from producers.spliced_model import SplicedModel
from shared.config import Job
from shared.errors import UserError
from trainers.quality import LatentSums, ReconstructionSums, quality
from trainers.relu import Relu
from trainers.sae import SparseAutoencoder
from trainers.topk import TopK

LAYER, NEXT = "transformer.h.1", "transformer.h.2"
MLP_IN, MLP = "transformer.h.1.mlp:in", "transformer.h.1.mlp"
D = 16


def make_job(root: Path, model: Path, *hookpoints: str) -> Job:
    (root / "texts").mkdir(exist_ok=True)
    for number in range(12):
        (root / "texts" / f"{number}.txt").write_text(text(60, seed=number))
    raw = {
        "name": "demo",
        "model": {"name": str(model), "hookpoints": hookpoints},
        "corpus": {"source": str(root / "texts"), "context_tokens": 24, "unit_contexts": 8},
        "trainers": [{"name": "a", "architecture": "topk", "num_latents": 32, "k": 4, "hookpoint": hookpoints[0]}],
        "tokens": 1000,
        "evaluation": {"holdout": 0.4},
    }
    return Job.model_validate(raw)


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    root = tmp_path_factory.mktemp("evaluation")
    return make_job(root, tiny_gpt2(root / "model", initializer_range=0.4), LAYER, NEXT, MLP_IN, MLP)


def held_out(job: Job, num_contexts: int = 1000) -> HeldOutText:
    corpus = Corpus.open(job.corpus, job.seed, job.evaluation.holdout)
    return HeldOutText.read(job, corpus, vocab_size=320, num_contexts=num_contexts)


@pytest.fixture(scope="module")
def model(job: Job) -> SplicedModel:
    return SplicedModel.load(job.model)


@pytest.fixture(scope="module")
def evaluator(job: Job, model: SplicedModel) -> Evaluator:
    return Evaluator(model, held_out(job), contexts_per_forward=5)


def some_sae(num_latents: int = 40, k: int = 6, seed: int = 0) -> TopK:
    sae = TopK(D, num_latents, k)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in sae.parameters():
            parameter.normal_(0, 0.2, generator=generator)
        sae.b_enc[:3] = -1e6
    return sae


def exact(width: int) -> Relu:
    """recon = relu(x) - relu(-x) = x."""
    sae, eye = Relu(width, 2 * width), torch.eye(width)
    with torch.no_grad():
        sae.W_enc.copy_(torch.cat([eye, -eye]))
        sae.W_dec.copy_(sae.W_enc)
    return sae


def constant(value: Tensor) -> Relu:
    sae = Relu(len(value), 4)
    with torch.no_grad():
        sae.b_dec.copy_(value)
    return sae


def subject(sae: SparseAutoencoder, name: str = "sae", where: str = LAYER) -> Subject:
    return Subject(name, sae, (where,), (where,))


def all_rows(model: SplicedModel, found: HeldOutText, *names: str) -> Tensor:
    (batch,) = found.batches(1000)
    rows = model.clean(*batch).rows
    return torch.cat([rows[name] for name in names], dim=1)


def test_every_number_is_that_of_all_rows_at_once_and_of_an_attached_sae(
    job: Job, model: SplicedModel, evaluator: Evaluator
) -> None:
    sae, found = some_sae(), held_out(job)
    (result,) = evaluator.evaluate([subject(sae)])
    x = all_rows(model, found, LAYER)
    with torch.no_grad():
        acts, recon = sae.encode(x), sae(x)
    expected = quality(ReconstructionSums.of(x, recon), LatentSums.of(acts), sae.W_dec.detach().norm(dim=1))
    for name, value in asdict(expected).items():
        assert getattr(result.quality, name) == pytest.approx(value, rel=1e-5), name
    assert result.quality.tokens == len(x) == found.num_rows and result.contexts == found.num_contexts > 20
    assert result.quality.dead_fraction >= 3 / 40 and result.density.never >= 3
    check_splice(result, model, sae, found)


def check_splice(result: Evaluation, model: SplicedModel, sae: TopK, found: HeldOutText) -> None:
    """CE and KL, one context at a time, with the SAE put into the model by `features.attach`."""
    losses, divergences, clean_losses = [], [], []
    for token_ids, mask, kept in found.batches(1):
        inputs = {"input_ids": token_ids, "attention_mask": mask}
        with torch.inference_mode():
            clean = model.model(**inputs).logits[0]
            with attach(model.model, sae, LAYER, excluded=~kept):
                spliced = model.model(**inputs).logits[0]
        counted = (kept[0, :-1] & mask[0, 1:]).nonzero().flatten()
        after = token_ids[0][counted + 1]
        losses.append(F.cross_entropy(spliced[counted], after, reduction="none"))
        clean_losses.append(F.cross_entropy(clean[counted], after, reduction="none"))
        log_p, log_q = clean[counted].log_softmax(-1), spliced[counted].log_softmax(-1)
        divergences.append((log_p.exp() * (log_p - log_q)).sum(-1))
    splice = result.splice
    assert splice is not None and splice.positions == len(torch.cat(losses)) < found.num_rows
    assert splice.ce_clean == pytest.approx(torch.cat(clean_losses).mean().item(), rel=1e-5)
    assert splice.ce_spliced == pytest.approx(torch.cat(losses).mean().item(), rel=1e-5)
    assert splice.kl_spliced == pytest.approx(torch.cat(divergences).mean().item(), rel=1e-4)
    assert splice.kl_spliced > 0.01


def test_an_exact_sae_loses_nothing(evaluator: Evaluator) -> None:
    (found,) = evaluator.evaluate([subject(exact(D))])
    assert found.quality.fvu == pytest.approx(0, abs=1e-12) and found.quality.cosine == pytest.approx(1)
    assert found.splice is not None
    assert found.splice.ce_increase == pytest.approx(0, abs=1e-5)
    assert found.splice.ce_recovered == pytest.approx(1, abs=1e-4)
    assert found.splice.kl_recovered == pytest.approx(1, abs=1e-5)


def test_zeros_and_the_mean_are_the_baselines(job: Job, model: SplicedModel, evaluator: Evaluator) -> None:
    mean = all_rows(model, held_out(job), LAYER).mean(0)
    zero, middle = evaluator.evaluate([subject(constant(torch.zeros(D)), "zero"), subject(constant(mean), "mean")])
    assert zero.splice is not None and middle.splice is not None
    assert zero.splice.ce_spliced == pytest.approx(zero.splice.ce_zero, rel=1e-6)
    assert zero.splice.kl_spliced == pytest.approx(zero.splice.kl_zero, rel=1e-6)
    assert zero.splice.kl_recovered == pytest.approx(0, abs=1e-6)
    assert middle.splice.ce_spliced == pytest.approx(middle.splice.ce_mean, rel=1e-5)
    assert middle.splice.kl_spliced == pytest.approx(middle.splice.kl_mean, rel=1e-4)
    assert middle.quality.fvu == pytest.approx(1.0, abs=1e-5)
    assert middle.splice.ce_mean != pytest.approx(middle.splice.ce_zero, rel=1e-3)


def test_saes_in_turn_are_saes_alone_and_batches_of_any_size_agree(
    job: Job, model: SplicedModel, evaluator: Evaluator
) -> None:
    saes = [subject(some_sae(seed=seed), f"sae-{seed}") for seed in range(3)]
    together = evaluator.evaluate(saes)
    alone = [evaluator.evaluate([one])[0] for one in saes]
    assert [one.facts() for one in together] == [one.facts() for one in alone]
    (other,) = Evaluator(model, held_out(job), contexts_per_forward=1).evaluate(saes[:1])
    for name in ("fvu", "l0", "cosine", "shrinkage"):
        assert getattr(other.quality, name) == pytest.approx(getattr(together[0].quality, name), rel=1e-4)
    assert other.splice is not None and together[0].splice is not None
    assert other.splice.kl_spliced == pytest.approx(together[0].splice.kl_spliced, rel=1e-3)


def test_a_transcoder_reads_one_place_and_is_spliced_into_another(
    job: Job, model: SplicedModel, evaluator: Evaluator
) -> None:
    x, y = (all_rows(model, held_out(job), name).double() for name in (MLP_IN, MLP))
    linear = (torch.linalg.pinv(x, rtol=1e-4) @ y).float().double()
    sae = exact(D)
    with torch.no_grad():
        sae.W_dec.copy_(sae.W_enc @ linear.float())
    (found,) = evaluator.evaluate([Subject("transcoder", sae, (MLP_IN,), (MLP,))])
    error = (y - x @ linear).square().sum() / (y - y.mean(0)).square().sum()
    assert found.quality.fvu == pytest.approx(error.item(), rel=1e-3)
    assert found.splice is not None and found.splice.ce_clean != pytest.approx(found.splice.ce_spliced, abs=1e-4)
    (other,) = evaluator.evaluate([subject(constant(torch.zeros(D)), where=MLP)])
    assert other.splice is not None and other.splice.ce_zero == found.splice.ce_zero


def test_a_crosscoder_is_spliced_into_all_of_its_places(evaluator: Evaluator) -> None:
    whole = Subject("crosscoder", exact(2 * D), (LAYER, NEXT), (LAYER, NEXT))
    half = exact(2 * D)
    with torch.no_grad():
        half.W_dec[:, D:] = 0
    found, lost = evaluator.evaluate([whole, whole._replace(name="half", sae=half)])
    assert list(found.fvu_by_hookpoint) == [LAYER, NEXT]
    assert found.splice is not None and found.splice.ce_increase == pytest.approx(0, abs=1e-5)
    assert lost.fvu_by_hookpoint[LAYER] == pytest.approx(0, abs=1e-12) and (lost.fvu_by_hookpoint[NEXT] or 0) >= 1
    assert lost.splice is not None and lost.splice.kl_spliced > 0.01


def test_baselines_are_measured_once(job: Job, model: SplicedModel) -> None:
    evaluator = Evaluator(model, held_out(job, num_contexts=10), contexts_per_forward=5)
    steps: list[None] = []
    first = evaluator.evaluate([subject(some_sae())], lambda: steps.append(None))
    assert len(steps) == evaluator.num_steps(1) == 4
    assert evaluator.evaluate([subject(some_sae())], lambda: steps.append(None)) == first
    assert len(steps) == 6


def test_an_encoder_gets_the_numbers_of_reconstruction_alone(tmp_path: Path) -> None:
    layer = "encoder.layer.1"
    job = make_job(tmp_path, tiny_bert(tmp_path / "bert"), layer)
    evaluator = Evaluator(SplicedModel.load(job.model), held_out(job, 8), contexts_per_forward=4)
    (found,) = evaluator.evaluate([subject(some_sae(), where=layer)])
    assert found.splice is None and "is an encoder, which predicts no next token" in found.no_splice
    assert found.quality.fvu is not None and found.contexts == 8
    facts = json.loads(json.dumps(found.facts(), allow_nan=False))
    assert facts["splice"] is None and facts["fvu"] == found.quality.fvu


def test_what_does_not_fit_the_model_is_a_sentence(evaluator: Evaluator) -> None:
    with pytest.raises(UserError, match=r"sae is for transformer\.h\.0, which is none of model\.hookpoints"):
        evaluator.evaluate([subject(some_sae(), where="transformer.h.0")])
    with pytest.raises(UserError, match=r"sae has rows of 32 values, and transformer\.h\.1 of 16"):
        evaluator.evaluate([subject(exact(32))])


def test_held_out_text_is_what_no_unit_has_and_stops_where_it_is_told(job: Job) -> None:
    whole, part = held_out(job), held_out(job, num_contexts=7)
    assert part.num_contexts == 7 < whole.num_contexts
    assert (part.token_ids == whole.token_ids[:7]).all() and (part.kept == whole.kept[:7]).all()
    assert not whole.kept[:, 0].any() and whole.kept[:, 1].all()
    assert [len(one.token_ids) for one in whole.batches(5)][:2] == [5, 5]
    none = job.model_copy(update={"evaluation": job.evaluation.model_copy(update={"holdout": 0.0})})
    assert held_out(none).num_contexts == held_out(none).num_rows == 0
