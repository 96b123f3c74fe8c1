"""Cross-entropy and KL against torch's own, on the positions that count; sums over parts against the whole."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from producers.predictions import POSITIONS_AT_ONCE, CleanPredictions, PredictionSums, splice_quality

CONTEXTS, TOKENS, VOCABULARY = 40, 31, 50


def batch(seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Clean logits, other logits, token ids, mask, kept; positions are left out at random, and so is padding."""
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(CONTEXTS, TOKENS, VOCABULARY, generator=generator, dtype=torch.float64)
    others = logits + torch.randn(logits.shape, generator=generator, dtype=torch.float64)
    token_ids = torch.randint(VOCABULARY, (CONTEXTS, TOKENS), generator=generator)
    mask = torch.ones(CONTEXTS, TOKENS, dtype=torch.bool)
    mask[5, 20:] = mask[9, 3:] = False
    kept = mask & (torch.rand(mask.shape, generator=generator) < 0.8)
    return logits, others, token_ids, mask, kept


def test_sums_are_those_of_torch_over_kept_positions_with_a_next_token() -> None:
    logits, others, token_ids, mask, kept = batch()
    found = CleanPredictions(logits, token_ids, mask, kept).against(others)
    rows = [(c, t) for c in range(CONTEXTS) for t in range(TOKENS - 1) if kept[c, t] and mask[c, t + 1]]
    context, position = (torch.tensor(one) for one in zip(*rows, strict=True))
    assert found.positions == len(rows) < int(kept.sum())
    expected = F.cross_entropy(others[context, position], token_ids[context, position + 1])
    assert found.mean_cross_entropy == pytest.approx(expected.item(), rel=1e-12)
    log_p, clean = (one[context, position].log_softmax(-1) for one in (others, logits))
    kl = F.kl_div(log_p, clean, log_target=True, reduction="batchmean")
    assert found.mean_kl == pytest.approx(kl.item(), rel=1e-12)


def test_parts_make_the_whole_however_they_are_cut() -> None:
    logits, others, token_ids, mask, kept = batch(1)
    assert int(kept.sum()) < POSITIONS_AT_ONCE < 2 * int(kept.sum())
    twice = [torch.cat([one, one]) for one in (logits, others, token_ids, mask, kept)]
    whole = CleanPredictions(twice[0], *twice[2:]).against(twice[1])
    parts = [
        CleanPredictions(logits[i : i + 7], token_ids[i : i + 7], mask[i : i + 7], kept[i : i + 7]).against(
            others[i : i + 7]
        )
        for i in range(0, CONTEXTS, 7)
    ]
    merged = sum(parts, PredictionSums())
    assert whole.positions == 2 * merged.positions
    assert whole.mean_cross_entropy == pytest.approx(merged.mean_cross_entropy, rel=1e-12)
    assert whole.mean_kl == pytest.approx(merged.mean_kl, rel=1e-12)


def test_the_clean_predictions_have_no_kl() -> None:
    logits, _, token_ids, mask, kept = batch()
    clean = CleanPredictions(logits.float(), token_ids, mask, kept)
    assert clean.sums.kl == 0.0 and clean.sums.cross_entropy > 0
    assert clean.against(logits.float()) == clean.sums


def test_words_that_a_model_rules_out_do_not_make_the_kl_nan() -> None:
    logits, others, token_ids, mask, kept = batch()
    allowed = token_ids.clamp(max=39)
    logits[..., 40:] = others[..., 40:] = -torch.inf
    found = CleanPredictions(logits, allowed, mask, kept).against(others)
    expected = CleanPredictions(logits[..., :40], allowed, mask, kept).against(others[..., :40])
    assert found.mean_kl == pytest.approx(expected.mean_kl, rel=1e-12)


def test_nothing_to_predict_is_no_position() -> None:
    logits, others, token_ids, mask, kept = batch()
    assert CleanPredictions(logits, token_ids, mask, kept & False).against(others) == PredictionSums()
    last_only = torch.zeros_like(kept)
    last_only[:, -1] = True
    assert CleanPredictions(logits, token_ids, mask, last_only).sums.positions == 0


def test_recovered_fractions_follow_their_definitions() -> None:
    clean, spliced, zero, mean = (PredictionSums(10, 10 * ce, 10 * kl) for ce, kl in ((2, 0), (3, 1), (12, 8), (7, 4)))
    found = splice_quality(clean, spliced, zero, mean)
    assert (found.ce_clean, found.ce_spliced, found.ce_zero, found.ce_mean) == (2, 3, 12, 7)
    assert found.ce_increase == 1
    assert found.ce_recovered == pytest.approx(0.9) and found.ce_recovered_mean == pytest.approx(0.8)
    assert found.kl_recovered == pytest.approx(7 / 8)
    harmless = splice_quality(clean, spliced, clean, clean)
    assert harmless.ce_recovered is None and harmless.kl_recovered is None
