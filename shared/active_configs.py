"""Keys of the architectures in which a fixed number of latents is active: TopK and its kin. Imports no torch."""

import itertools
import math
from typing import Annotated, Literal

from pydantic import Field, model_validator

from shared.config_types import AtLeastZero, Fraction, Number, Positive, Whole
from shared.trainer_config import Beta, TrainerConfig


class ActiveConfig(TrainerConfig):
    """What architectures with a fixed number of active latents share (Gao et al. 2024, arXiv:2406.04093)."""

    k: Whole | None = None
    """Latents that are active on each row."""
    active_proportion: Fraction | None = None
    """Instead of k: the share of all latents that is active on each row, rounded up."""
    auxk: Positive | None = None
    """Dead latents that the auxiliary loss uses; default: the power of two nearest d_in / 2."""
    auxk_alpha: AtLeastZero = 1 / 32
    """Weight of the auxiliary loss."""
    k_anneal_fraction: Fraction = 0.0
    """Share of the token budget over which the number of active latents falls linearly to k."""
    k_anneal_from: Positive | None = None
    """Active latents at the start of that; default: d_in, at most num_latents."""

    @property
    def active(self) -> int:
        """Latents that are active on each row once annealing is over."""
        return self.k if self.k is not None else math.ceil((self.active_proportion or 0) * self.num_latents)

    @property
    def counts_active(self) -> bool:
        """Whether k is what makes it sparse."""
        return True

    @property
    def couples_rows(self) -> bool:
        return self.counts_active

    @model_validator(mode="after")
    def _k_fits(self) -> "ActiveConfig":
        if not self.counts_active:
            return self
        if self.k is None and not self.active_proportion:
            raise ValueError("k is missing; or give active_proportion, above 0")
        if self.k is not None and self.active_proportion is not None:
            raise ValueError("active_proportion must not stand beside k: give one of them")
        if not 1 <= self.active <= self.num_latents:
            raise ValueError(f"k must be between 1 and num_latents ({self.num_latents}), got {self.k}")
        if self.auxk is not None and self.auxk > self.num_latents:
            raise ValueError(f"auxk must be at most num_latents ({self.num_latents}), got {self.auxk}")
        if self.k_anneal_from is not None and not self.active <= self.k_anneal_from <= self.num_latents:
            raise ValueError(
                f"k_anneal_from must be between k ({self.active}) and num_latents ({self.num_latents}), "
                f"got {self.k_anneal_from}"
            )
        return self


class TopKConfig(ActiveConfig):
    """TopK with AuxK (Gao et al. 2024, arXiv:2406.04093). lr defaults to 2e-4 / sqrt(num_latents / 2**14)."""

    architecture: Literal["topk"]


class MultiTopKConfig(ActiveConfig):
    """As TopK, with a loss of four times as many active latents beside it (Gao et al. 2024, arXiv:2406.04093)."""

    architecture: Literal["multi_topk"]


class BatchActiveConfig(ActiveConfig):
    """What architectures share that have k active latents on each row on average, over a batch.

    lr defaults to 3e-4, beyond the 24,576 latents of the BatchTopK paper to that times sqrt(24,576 / num_latents).
    """

    auxk: Positive | None = None
    """Dead latents that the auxiliary loss uses; default: 512."""
    threshold_decay: Annotated[Number, Field(ge=0, le=1)] = 0.99
    """The threshold for use is the mean of each batch's smallest active pre-activation, each counting this much as the
    next; 1: of all batches alike. (SAELens; dictionary_learning has 0.999.)"""
    adam_betas: tuple[Beta, Beta] = (0.9, 0.99)
    """Adam's decay rates of the gradient's mean and mean square."""


class BatchTopKConfig(BatchActiveConfig):
    """BatchTopK (Bussmann, Leask and Nanda 2024, arXiv:2412.06410)."""

    architecture: Literal["batch_topk"]


class MatryoshkaConfig(BatchActiveConfig):
    """BatchTopK whose first latents alone reconstruct, too (Bussmann et al. 2025, arXiv:2503.17547)."""

    architecture: Literal["matryoshka"]
    group_fractions: tuple[Fraction, ...] = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 17 / 32)
    """Each group's share of all latents, in order; there is a loss for the groups up to each. They add up to 1."""
    group_weighting: Literal["sum", "mean"] = "sum"
    """sum: these losses are added (SAELens); mean: averaged."""

    @property
    def nested_widths(self) -> tuple[int, ...]:
        """Latents up to the end of each group; the last is num_latents."""
        return tuple(round(share * self.num_latents) for share in itertools.accumulate(self.group_fractions))

    @model_validator(mode="after")
    def _groups_fit(self) -> "MatryoshkaConfig":
        if abs(sum(self.group_fractions) - 1) > 1e-6:
            raise ValueError(f"group_fractions must add up to 1, got {list(self.group_fractions)}")
        if any(width == before for before, width in itertools.pairwise((0, *self.nested_widths))):
            raise ValueError(
                f"group_fractions must leave each group one of {self.num_latents} latents, "
                f"got {list(self.group_fractions)}"
            )
        return self
