"""Keys of the architectures that a penalty makes sparse: ReLU, Gated, JumpReLU, KL. Imports no torch."""

import itertools
from typing import Annotated, Literal

from pydantic import Field, model_validator

from shared.config_types import AtLeastZero, Fraction, Number, Positive, PositiveFloat, Whole
from shared.trainer_config import Beta, Normalize, TrainerConfig


class ReluL1Config(TrainerConfig):
    """ReLU with an L1 penalty weighted by decoder norms (Anthropic, April 2024). lr defaults to 5e-5."""

    architecture: Literal["relu_l1"]
    l1_coefficient: AtLeastZero = 5.0
    """λ, for activations scaled to a mean norm of sqrt(d_in)."""
    l1_warmup_fraction: Fraction = 0.05
    """Share of the token budget over which λ rises from 0."""
    lr_decay_fraction: Fraction = 0.2
    """Share of the token budget at its end over which the learning rate falls linearly to 0."""
    decoder_init_norm: PositiveFloat = 0.1
    """Norm of every decoder direction at the start."""


class UnitNormConfig(TrainerConfig):
    """What architectures with decoder directions of length one share.

    Defaults that papers leave open are those of dictionary_learning's sweep (demo_config.py, as SAEBench trained by):
    lr 3e-4, and a penalty for activations with a mean squared norm of 1, for which l1_coefficient is meant.
    """

    normalize: Normalize = "unit_mean_square"
    l1_warmup_fraction: Fraction = 0.0
    """Share of the token budget over which the penalty rises from 0."""
    resample_at_fractions: tuple[Fraction, ...] = ()
    """Shares of the token budget at which latents that have fallen silent are made anew from badly reconstructed rows
    (Bricken et al. 2023)."""
    resample_window_fraction: Fraction = 0.0125
    """A latent is silent that did not fire over this share of the token budget before (12,500 of 1,000,000 steps)."""
    resample_rows_fraction: Fraction = 0.0001
    """The rows to choose from come in this share of the token budget after, one batch at least (819,200 of 8e9)."""
    resample_rewarm_fraction: Fraction = 0.0
    """Share of the token budget over which the learning rate then rises from a tenth to the whole along a cosine
    (Rajamanoharan et al. 2024, arXiv:2404.16014, appendix D, has 1,000 of 300,000 steps); 0: it stays as it is."""

    @model_validator(mode="after")
    def _points_leave_room(self) -> "UnitNormConfig":
        needed = self.resample_window_fraction + self.resample_rows_fraction
        for former, point in itertools.pairwise((0.0, *self.resample_at_fractions)):
            if point - former < needed:
                raise ValueError(
                    "resample_at_fractions must rise by at least resample_window_fraction + resample_rows_fraction "
                    f"({needed:g}) each, from 0 on, got {list(self.resample_at_fractions)}"
                )
        return self


class ReluL12023Config(UnitNormConfig):
    """ReLU with L1 and unit directions (Bricken et al. 2023, "Towards Monosemanticity"). lr defaults to 3e-4."""

    architecture: Literal["relu_l1_2023"]
    l1_coefficient: AtLeastZero = 0.03
    """λ; the sweep has 0.012 to 0.06."""
    resample_at_fractions: tuple[Fraction, ...] = (0.025, 0.05, 0.075, 0.1)
    """As in UnitNormConfig: steps 25,000 to 100,000 of 1,000,000."""


class GatedConfig(UnitNormConfig):
    """Gated (Rajamanoharan et al. 2024, arXiv:2404.16014). lr defaults to 3e-4, as betas and warm-up do, appendix D."""

    architecture: Literal["gated"]
    l1_coefficient: AtLeastZero = 0.04
    """λ, on the gate's pre-activations; the sweep has 0.012 to 0.08."""
    l1_warmup_fraction: Fraction = 0.02
    """As in UnitNormConfig: the sweep has 5,000 of 244,000 steps."""
    lr_warmup_fraction: Fraction = 0.003
    """Share of the token budget over which the learning rate rises from 0 (1,000 of 300,000 steps)."""
    adam_betas: tuple[Beta, Beta] = (0.0, 0.999)
    """Adam's decay rates of the gradient's mean and mean square."""


class PAnnealConfig(UnitNormConfig):
    """p-annealing (Karvonen et al. 2024, arXiv:2408.00113), as that sweep has it. lr defaults to 3e-4."""

    architecture: Literal["p_anneal"]
    l1_coefficient: AtLeastZero = 0.01
    """λ while p is 1; the sweep has 0.006 to 0.025."""
    l1_warmup_fraction: Fraction = 0.02
    """As in UnitNormConfig: 5,000 of 244,000 steps."""
    lr_warmup_fraction: Fraction = 0.004
    """Share of the token budget over which the learning rate rises from 0 (1,000 steps)."""
    lr_decay_fraction: Fraction = 0.2
    """Share of the token budget at its end over which the learning rate falls linearly to 0."""
    p_end: Annotated[Number, Field(gt=0, le=1)] = 0.2
    """The last power of activations in the penalty; the first is 1, and 0 would have no gradient."""
    num_powers: Annotated[Whole, Field(ge=2)] = 10
    """Powers that the penalty goes through at equal distances."""
    anneal_from_fraction: Annotated[Number, Field(ge=0, lt=1)] = 0.04
    """Share of the token budget after which that begins (10,000 steps); each power then stays for as long."""


class JumpReLUConfig(TrainerConfig):
    """JumpReLU with an L0 penalty (Rajamanoharan et al. 2024, arXiv:2407.14435) and directions of length one.

    Defaults are Gemma Scope's (arXiv:2408.05147, section 3.2), steps as shares of its shortest runs, 4e9 tokens in
    batches of 4096. lr defaults to 7e-5. Papers sweep λ and name no default.
    """

    architecture: Literal["jumprelu"]
    normalize: Normalize = "unit_mean_square"
    """As for all; λ, threshold_init and bandwidth are for activations with a mean squared norm of 1."""
    l0_coefficient: AtLeastZero | None = None
    """λ; default: 1e-3, which makes a latent worth its while where it explains a thousandth of the mean squared norm;
    with target_l0: 1 (dictionary_learning)."""
    target_l0: PositiveFloat | None = None
    """Penalise (L0 / target_l0 - 1)^2 instead of L0 (dictionary_learning)."""
    l0_warmup_fraction: Fraction = 0.01
    """Share of the token budget over which λ rises from 0 (10,000 steps)."""
    threshold_init: PositiveFloat = 0.001
    """Every latent's threshold at the start; its logarithm is what is learnt."""
    bandwidth: PositiveFloat = 0.001
    """Width of the window about a threshold whose pre-activations give its gradient."""
    lr_warmup_fraction: Fraction = 0.001
    """Share of the token budget over which the learning rate rises (1,000 steps)."""
    lr_warmup_shape: Literal["linear", "cosine"] = "cosine"
    """cosine: it rises from a tenth of its peak along half a wave."""
    adam_betas: tuple[Beta, Beta] = (0.0, 0.999)
    """Adam's decay rates of the gradient's mean and mean square."""

    @property
    def couples_rows(self) -> bool:
        return self.target_l0 is not None


class KlConfig(TrainerConfig):
    """KL-divergence sparsity on sigmoid activations (Ng's CS294A notes; defaults are those of its exercise, UFLDL).

    That was trained by L-BFGS, so its learning rate is ours: lr defaults to 1e-3.
    """

    architecture: Literal["kl"]
    rho: Annotated[Number, Field(gt=0, lt=1)] = 0.01
    """What each latent's activation, between 0 and 1, should be on average."""
    beta: AtLeastZero = 3.0
    """Weight of the penalty."""
    weight_decay: AtLeastZero = 1e-4
    """Weight of half the squared norm of both matrices."""
    rho_decay: Beta = 0.9
    """Share of the mean activation so far that each batch keeps; 0: the mean over the batch alone."""

    @property
    def couples_rows(self) -> bool:
        return True


class JumpReLUTanhConfig(TrainerConfig):
    """JumpReLU with a tanh penalty, decoder norms free (Anthropic, January 2025). lr defaults to 2e-4.

    An optimiser step is 32,768 rows, as published, in eight batches.
    """

    architecture: Literal["jumprelu_tanh"]
    accumulate: Positive = 8
    """Batches whose gradients are averaged into one optimiser step."""
    sparsity_coefficient: AtLeastZero = 10.0
    """λ_S, for activations scaled to a mean norm of sqrt(d_in); the update has about 10 to 20."""
    sparsity_warmup_fraction: Fraction = 1.0
    """Share of the token budget over which λ_S rises from 0."""
    tanh_scale: PositiveFloat = 4.0
    """c: how soon an activation counts as one that is there."""
    pre_act_coefficient: AtLeastZero = 3e-6
    """λ_P: draws latents that do not fire towards their thresholds."""
    bandwidth: PositiveFloat = 2.0
    """ε, the width of the window about a threshold whose pre-activations give its gradient."""
    log_threshold_init: Number = 0.1
    """The logarithm of every latent's threshold at the start."""
    start_l0: PositiveFloat = 10_000.0
    """Latents that fire on a row at the start: each on a share start_l0 / num_latents of the rows, at most half."""
    lr_decay_fraction: Fraction = 0.2
    """Share of the token budget at its end over which the learning rate falls linearly to 0."""
