"""How much worse a model predicts the next token when activations are replaced: sums that merge, in nats.

Counted are the positions whose own activation is replaced and that have a next token: elsewhere the logits may change
too, but a BOS that nobody touches would only dilute the numbers.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

POSITIONS_AT_ONCE = 1024
"""Distributions over the vocabulary that are in memory in float32 at one time."""


@dataclass(frozen=True)
class PredictionSums:
    """Sums over some positions; `+` gives those of both."""

    positions: int = 0
    cross_entropy: float = 0.0
    """Of the next token, -log p(next)."""
    kl: float = 0.0
    """KL(clean || spliced) = sum over the vocabulary of p_clean (log p_clean - log p_spliced)."""

    def __add__(self, other: "PredictionSums") -> "PredictionSums":
        return PredictionSums(
            self.positions + other.positions, self.cross_entropy + other.cross_entropy, self.kl + other.kl
        )

    @property
    def mean_cross_entropy(self) -> float:
        return self.cross_entropy / self.positions

    @property
    def mean_kl(self) -> float:
        return self.kl / self.positions


class CleanPredictions:
    """What the model predicts by itself for some contexts, to hold other predictions against."""

    def __init__(self, logits: Tensor, token_ids: Tensor, attention_mask: Tensor, kept: Tensor) -> None:
        """logits [contexts, tokens, vocabulary]; the others [contexts, tokens], `kept` True where rows are."""
        counted = torch.zeros_like(kept, dtype=torch.bool)
        counted[:, :-1] = kept[:, :-1] & attention_mask[:, 1:]
        self._logits = logits.flatten(0, 1)
        self._index = counted.flatten().nonzero().flatten().to(logits.device)
        self._next = token_ids.flatten().to(logits.device)[self._index + 1]

    @property
    def sums(self) -> PredictionSums:
        """Of the clean predictions themselves: their KL is 0."""
        return self.against(self._logits)

    def against(self, logits: Tensor) -> PredictionSums:
        """Of the predictions `logits` for the same contexts, of the shape of the clean ones."""
        flat = logits.reshape(self._logits.shape)
        parts = zip(self._index.split(POSITIONS_AT_ONCE), self._next.split(POSITIONS_AT_ONCE), strict=True)
        return sum((self._part(flat, index, after) for index, after in parts), PredictionSums())

    def _part(self, logits: Tensor, index: Tensor, after: Tensor) -> PredictionSums:
        log_p, clean = _log_softmax(logits[index]), _log_softmax(self._logits[index])
        cross_entropy = -log_p.gather(1, after[:, None])
        kl = torch.where(clean > -torch.inf, clean.exp() * (clean - log_p), 0.0)
        return PredictionSums(len(index), _total(cross_entropy), _total(kl))


@dataclass(frozen=True)
class SpliceQuality:
    """What the model loses when an SAE's reconstruction stands in for activations; nats per token."""

    positions: int
    ce_clean: float
    """Cross-entropy of the model as it is."""
    ce_spliced: float
    """With the reconstruction in place."""
    ce_zero: float
    """With zeros in place."""
    ce_mean: float
    """With the mean of all rows in place."""
    ce_increase: float
    """ce_spliced - ce_clean."""
    ce_recovered: float | None
    """(ce_zero - ce_spliced) / (ce_zero - ce_clean): 1 is as good as clean, 0 as bad as zeros."""
    ce_recovered_mean: float | None
    """The same against the mean."""
    kl_spliced: float
    """KL(clean || spliced)."""
    kl_zero: float
    kl_mean: float
    kl_recovered: float | None
    """(kl_zero - kl_spliced) / kl_zero."""


def splice_quality(
    clean: PredictionSums, spliced: PredictionSums, zero: PredictionSums, mean: PredictionSums
) -> SpliceQuality:
    """The numbers that sums over the same positions make, at least one."""
    assert clean.positions == spliced.positions == zero.positions == mean.positions > 0
    ce_clean, ce_spliced, ce_zero, ce_mean = (one.mean_cross_entropy for one in (clean, spliced, zero, mean))
    return SpliceQuality(
        positions=clean.positions,
        ce_clean=ce_clean,
        ce_spliced=ce_spliced,
        ce_zero=ce_zero,
        ce_mean=ce_mean,
        ce_increase=ce_spliced - ce_clean,
        ce_recovered=_recovered(ce_clean, ce_spliced, ce_zero),
        ce_recovered_mean=_recovered(ce_clean, ce_spliced, ce_mean),
        kl_spliced=spliced.mean_kl,
        kl_zero=zero.mean_kl,
        kl_mean=mean.mean_kl,
        kl_recovered=_recovered(0.0, spliced.mean_kl, zero.mean_kl),
    )


def _recovered(best: float, found: float, worst: float) -> float | None:
    """The share of the way from `worst` to `best`; None where ablation does no harm."""
    return (worst - found) / (worst - best) if worst > best else None


def _log_softmax(logits: Tensor) -> Tensor:
    return torch.log_softmax(logits, dim=-1, dtype=torch.promote_types(logits.dtype, torch.float32))


def _total(values: Tensor) -> float:
    return values.sum(dtype=torch.float64).item()
