"""SAELens' own evaluation (6.54) of the same SAE on the same tokens, wherever its definitions are ours."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"

from pathlib import Path
from typing import Any

import pytest
import torch
from sae_folders import randomised
from torch import Tensor
from trained_run import HOOKPOINT, make_job

from cluster.evaluation import Evaluation, Evaluator, Subject
from producers.corpus import Corpus
from producers.held_out import HeldOutText
from producers.spliced_model import SplicedModel
from producers.tokenizing import load_tokenizer
from trainers import SaeFacts, load_sae
from trainers.saelens_format import save_sae
from trainers.topk import TopK
from trainers.unit_norm import normalise_rows

pytestmark = pytest.mark.filterwarnings("ignore")
BOS = 0
D_IN, NUM_LATENTS = 16, 40


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Evaluation, Any, Any, Tensor]:
    """What we found of an SAE; that SAE and the model as SAELens has them; the tokens, without padding."""
    sae_lens = pytest.importorskip("sae_lens")
    from sae_lens.load_model import HookedProxyLM

    root = tmp_path_factory.mktemp("saelens")
    job = make_job(root)
    model = SplicedModel.load(job.model)
    text = HeldOutText.read(job, Corpus.open(job.corpus, job.seed, job.evaluation.holdout), 320, 1000)
    whole = text.attention_mask.all(axis=1)
    text = HeldOutText(*(one[whole] for one in text))
    folder = saved_sae(root / "sae")
    ours = Subject("sae", load_sae(folder), (HOOKPOINT,), (HOOKPOINT,))
    (found,) = Evaluator(model, text, contexts_per_forward=8).evaluate([ours])
    theirs = sae_lens.SAE.load_from_disk(folder)
    theirs.cfg.metadata.hook_name = HOOKPOINT
    proxy = HookedProxyLM(model.model, load_tokenizer(job.model), hook_names=[HOOKPOINT])
    return found, theirs, proxy, torch.from_numpy(text.token_ids)


def saved_sae(folder: Path) -> Path:
    sae = randomised(TopK(D_IN, NUM_LATENTS, 6))
    with torch.no_grad():
        normalise_rows(sae.W_dec)
    facts = SaeFacts("tiny", (HOOKPOINT,), (HOOKPOINT,), 32, "texts")
    save_sae(sae, folder, facts, {}, torch.full((NUM_LATENTS,), 0.1))
    return folder


class OneBatch:
    """Gives SAELens' evaluation the tokens that it asks a store of activations for."""

    def __init__(self, tokens: Tensor) -> None:
        self._tokens = tokens

    def get_batch_tokens(self, _: int) -> Tensor:
        return self._tokens


def test_reconstruction_and_sparsity_are_those_of_saelens(both: tuple[Evaluation, Any, Any, Tensor]) -> None:
    from sae_lens.evals import get_sparsity_and_variance_metrics
    from sae_lens.training.activation_scaler import ActivationScaler

    found, sae, model, tokens = both
    wanted = dict.fromkeys(
        (
            "compute_l2_norms",
            "compute_sparsity_metrics",
            "compute_variance_metrics",
            "compute_featurewise_density_statistics",
        ),
        True,
    )
    with torch.no_grad():
        theirs, by_latent = get_sparsity_and_variance_metrics(
            sae, model, OneBatch(tokens), ActivationScaler(), 1, **wanted,
            eval_batch_size_prompts=len(tokens), model_kwargs={}, ignore_tokens=[BOS],
        )  # fmt: skip
    ours = found.quality
    assert ours.fvu is not None and ours.mse is not None
    assert 1 - ours.fvu == pytest.approx(theirs["explained_variance"], abs=1e-5)
    assert ours.mse * D_IN == pytest.approx(theirs["mse"], rel=1e-5)
    assert ours.cosine == pytest.approx(theirs["cossim"], rel=1e-5)
    assert ours.norm_ratio == pytest.approx(theirs["l2_ratio"], rel=1e-5)
    assert ours.shrinkage == pytest.approx(theirs["relative_reconstruction_bias"], rel=1e-5)
    assert (ours.l0, ours.l1) == pytest.approx((theirs["l0"], theirs["l1"]), rel=1e-5)
    density = torch.tensor(by_latent["feature_density"])
    assert ours.dead_fraction == pytest.approx((density == 0).double().mean().item())
    assert ours.dense_fraction_10_percent == pytest.approx((density > 0.1).double().mean().item())


def test_losses_with_the_reconstruction_in_place_are_those_of_saelens(
    both: tuple[Evaluation, Any, Any, Tensor],
) -> None:
    from sae_lens.evals import get_recons_loss
    from sae_lens.training.activation_scaler import ActivationScaler

    found, sae, model, tokens = both
    theirs = get_recons_loss(sae, model, ActivationScaler(), tokens, True, True, ignore_tokens=[BOS])
    counted = (tokens != BOS)[:, :-1]
    splice = found.splice
    assert splice is not None and splice.positions == int(counted.sum())
    assert splice.ce_clean == pytest.approx(theirs["ce_loss_without_sae"][counted].mean().item(), rel=1e-5)
    assert splice.ce_spliced == pytest.approx(theirs["ce_loss_with_sae"][counted].mean().item(), rel=1e-5)
    assert splice.kl_spliced == pytest.approx(theirs["kl_div_with_sae"][:, :-1][counted].mean().item(), rel=1e-4)
    assert splice.kl_spliced > 0.01
