"""The `trainers` of a job file: what all architectures share, and what each adds. Imports no torch."""

import difflib
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Union

from pydantic import ConfigDict, Discriminator, Field, Tag, model_validator

from shared.config_types import (
    AtLeastZero,
    Fraction,
    Gpus,
    Name,
    Number,
    Positive,
    PositiveFloat,
    Section,
    Seed,
    Text,
    Whole,
)

Normalize = Literal["none", "sqrt_d", "unit_mean_square", "token_norm", "layer_norm"]
Beta = Annotated[Number, Field(ge=0, lt=1)]


class TrainerConfig(Section):
    """What every architecture shares."""

    name: Name
    architecture: str
    hookpoint: str | None = None
    """One of model.hookpoints; may be left out where there is only one."""
    num_latents: Positive
    """Latents in the dictionary."""
    normalize: Normalize = "sqrt_d"
    """sqrt_d and unit_mean_square: one constant for all rows, so that the mean norm is sqrt(d_in), or the mean squared
    norm 1; folded into what is saved. token_norm: each row to norm sqrt(d_in); layer_norm: each row to mean 0 and
    standard deviation 1; both are written into cfg.json."""
    batch_rows: Positive = 4096
    """Rows whose gradient is taken at a time."""
    accumulate: Positive = 1
    """Batches that make one optimiser step, the step of one large batch: their gradients are averaged; or, where a
    batch's loss is no mean over its rows (AuxK, batch-top-k, KL, a target L0), their rows are put together."""
    lr: PositiveFloat | None = None
    """Peak learning rate; default: the architecture's."""
    lr_warmup_fraction: Fraction = 0.0
    """Share of the token budget over which the learning rate rises from 0."""
    lr_warmup_shape: Literal["linear", "cosine"] = "linear"
    """cosine: it rises from a tenth of its peak along half a wave."""
    lr_decay_fraction: Fraction = 0.0
    """Share of the token budget at its end over which the learning rate falls linearly to 0."""
    adam_betas: tuple[Beta, Beta] = (0.9, 0.999)
    """Adam's decay rates of the gradient's mean and mean square."""
    ema_decay: Beta | None = None
    """Save an exponential moving average of the weights, with this share kept at each step; null: the weights."""
    autocast: Literal["none", "bfloat16"] = "none"
    """bfloat16: matrix products of training in half precision; weights and their updates stay float32."""
    grad_clip: PositiveFloat | None = 1.0
    """Largest gradient norm over all parameters; null: no clipping."""
    dead_after_tokens: Positive = 10_000_000
    """A latent that has not fired for this many tokens counts as dead."""
    lag_policy: Literal["block", "detach"] = "block"
    """When the log is full of blocks that this trainer has not read. block: all wait for it; detach: it passes over
    the blocks that must go, and the gap is written down."""
    seed: Seed | None = None
    """Of the initial weights; default: the job's seed."""
    gpus: Gpus = 0
    """GPUs for this trainer."""
    cpus: AtLeastZero = 1
    """CPUs that Ray reserves for this trainer."""
    threads: Positive = 1
    """Threads of this trainer's torch; part of the job, since it changes rounding."""

    @property
    def couples_rows(self) -> bool:
        """A batch's loss is not the mean of its rows' losses."""
        return False

    @property
    def gradient_rows(self) -> int:
        """Rows whose gradient is taken at once."""
        return self.batch_rows * (self.accumulate if self.couples_rows else 1)

    @property
    def gradients_per_step(self) -> int:
        """Gradients that are averaged into one optimiser step."""
        return 1 if self.couples_rows else self.accumulate

    def inputs(self, hookpoints: tuple[str, ...]) -> tuple[str, ...]:
        """What is encoded, of the job's `hookpoints`."""
        return (self.hookpoint or hookpoints[0],)

    def targets(self, hookpoints: tuple[str, ...]) -> tuple[str, ...]:
        """What is reconstructed."""
        return self.inputs(hookpoints)

    def columns(self, hookpoints: tuple[str, ...]) -> tuple[str, ...]:
        """The columns of the stream that a row is made of, each once: inputs, then targets that are not inputs."""
        return tuple(dict.fromkeys(self.inputs(hookpoints) + self.targets(hookpoints)))

    def misplaced(self, hookpoints: tuple[str, ...]) -> str | None:
        """What is wrong with the hookpoints that this trainer names, as `key must …`; None when nothing is."""
        if self.hookpoint is None and len(hookpoints) > 1:
            return f"hookpoint must say which of model.hookpoints it trains on ({', '.join(hookpoints)})"
        return _unknown("hookpoint", self.hookpoint, hookpoints)

    def place(self, hookpoints: tuple[str, ...]) -> str:
        """What it trains on, in short, of the job's `hookpoints`."""
        return place_of(self.inputs(hookpoints), self.targets(hookpoints))


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


class EitherConfig(ActiveConfig):
    """What architectures share that are made sparse in one of two ways, each with keys of its own."""

    activation: Literal["topk", "relu_l1"] = "topk"
    """topk: k active latents on each row, with AuxK; relu_l1: a penalty on activations times decoder norms."""
    l1_coefficient: AtLeastZero = 5.0
    """λ of relu_l1, for activations scaled to a mean norm of sqrt(d_in)."""
    l1_warmup_fraction: Fraction = 0.05
    """Share of the token budget over which λ rises from 0."""
    lr_decay_fraction: Fraction = 0.2
    """Share of the token budget at its end over which the learning rate falls linearly to 0."""

    KEYS: ClassVar[dict[str, tuple[str, ...]]] = {
        "topk": ("k", "active_proportion", "auxk", "auxk_alpha", "k_anneal_fraction", "k_anneal_from"),
        "relu_l1": ("l1_coefficient", "l1_warmup_fraction"),
    }
    """Activation -> the keys that it alone reads."""

    @property
    def counts_active(self) -> bool:
        return self.activation == "topk"

    @model_validator(mode="after")
    def _keys_are_of_the_activation(self) -> "EitherConfig":
        for activation, keys in self.KEYS.items():
            for key in keys:
                if activation != self.activation and getattr(self, key) != type(self).model_fields[key].default:
                    raise ValueError(f"{key} belongs to activation {activation}, and this one is {self.activation}")
        return self

    @model_validator(mode="after")
    def _rows_can_be_put_back(self) -> "EitherConfig":
        if self.normalize in ("token_norm", "layer_norm"):
            raise ValueError(
                f"normalize must be none, sqrt_d or unit_mean_square for a {self.architecture}, "
                f"got {self.normalize!r}: its rows are of several hookpoints, which no one norm can be given back to"
            )
        return self


class TranscoderConfig(EitherConfig):
    """One hookpoint's activations from another's, such as an MLP's output from its input.

    As sparsify has it, with `skip_transcoder` adding a linear map of the input (Paulo et al. 2025, arXiv:2501.18823).
    lr defaults to 2e-4 / sqrt(num_latents / 2**14) for topk, to 5e-5 for relu_l1.
    """

    architecture: Literal["transcoder", "skip_transcoder"]
    target_hookpoint: str | None = None
    """One of model.hookpoints: what is reconstructed, from `hookpoint`."""

    def targets(self, hookpoints: tuple[str, ...]) -> tuple[str, ...]:
        return (self.target_hookpoint or hookpoints[-1],)

    def misplaced(self, hookpoints: tuple[str, ...]) -> str | None:
        if wrong := super().misplaced(hookpoints):
            return wrong
        if self.target_hookpoint is None:
            return f"target_hookpoint must say which of model.hookpoints it reconstructs ({', '.join(hookpoints)})"
        if self.targets(hookpoints) == self.inputs(hookpoints):
            return f"target_hookpoint must differ from what it reads, {self.target_hookpoint!r}"
        return _unknown("target_hookpoint", self.target_hookpoint, hookpoints)


class CrosscoderConfig(EitherConfig):
    """One dictionary for several hookpoints, its sources (Lindsey et al. 2024, "Sparse Crosscoders").

    Defaults that these leave open are Kissane et al.'s ("Open Source Replication of Anthropic's Crosscoder paper"); lr
    defaults to 5e-5 for relu_l1, to 2e-4 / sqrt(num_latents / 2**14) for topk.
    """

    architecture: Literal["crosscoder"]
    hookpoints: Annotated[tuple[Text, ...], Field(min_length=1)] | None = None
    """Two or more of model.hookpoints; default: all of them."""
    activation: Literal["topk", "relu_l1"] = "relu_l1"
    """As in EitherConfig; relu_l1 adds up a latent's norms over its sources, topk gives it norm 1 over all of them."""
    l1_coefficient: AtLeastZero = 2.0
    """λ of relu_l1, for sources each scaled to a mean norm of sqrt of their width."""
    decoder_init_norm: PositiveFloat = 0.08
    """Of relu_l1: the norm of every decoder direction in each source at the start."""

    KEYS: ClassVar[dict[str, tuple[str, ...]]] = {
        **EitherConfig.KEYS,
        "relu_l1": (*EitherConfig.KEYS["relu_l1"], "decoder_init_norm"),
    }

    def inputs(self, hookpoints: tuple[str, ...]) -> tuple[str, ...]:
        return self.hookpoints or hookpoints

    def misplaced(self, hookpoints: tuple[str, ...]) -> str | None:
        named = self.inputs(hookpoints)
        if self.hookpoint is not None:
            return f"hookpoint is not a key of a crosscoder: give hookpoints, got {self.hookpoint!r}"
        if len(named) < 2:
            return f"hookpoints must name two or more of model.hookpoints ({', '.join(hookpoints)})"
        if len(set(named)) < len(named):
            return "hookpoints must differ from each other"
        wrong = (_unknown(f"hookpoints[{place}]", one, hookpoints) for place, one in enumerate(named))
        return next((one for one in wrong if one), None)


class OwnConfig(TrainerConfig):
    """An architecture from elsewhere: `package.module:Class`, where Class is a `trainers.objective.Objective`.

    Keys that are not among the shared ones are the class's own: it checks them by its `Config`.
    """

    model_config = ConfigDict(extra="allow")
    architecture: Annotated[Text, Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")]


def place_of(inputs: Sequence[str], targets: Sequence[str]) -> str:
    """`a`; for a transcoder `a → b`; for a crosscoder `a + b`."""
    return " → ".join(dict.fromkeys(" + ".join(side) for side in (inputs, targets)))


def recorded_place(metadata: Mapping[str, Any]) -> str | None:
    """The same of an SAE on disk, by the metadata in its cfg.json; None where nobody wrote it down."""
    own = metadata.get("headrace") or {}
    if own.get("inputs") and own.get("targets"):
        return place_of(own["inputs"], own["targets"])
    return metadata.get("hf_hook_name") or metadata.get("hook_name")


def _unknown(key: str, hookpoint: str | None, hookpoints: tuple[str, ...]) -> str | None:
    if hookpoint is None or hookpoint in hookpoints:
        return None
    near = next(iter(difflib.get_close_matches(hookpoint, hookpoints, n=1)), None)
    hint = f"; did you mean {near}?" if near else ""
    return f"{key} must be one of model.hookpoints ({', '.join(hookpoints)}), got {hookpoint!r}{hint}"


OWN = "package.module:Class"
TRAINER_CONFIGS: dict[str, type[TrainerConfig]] = {
    "topk": TopKConfig,
    "multi_topk": MultiTopKConfig,
    "batch_topk": BatchTopKConfig,
    "matryoshka": MatryoshkaConfig,
    "relu_l1": ReluL1Config,
    "relu_l1_2023": ReluL12023Config,
    "kl": KlConfig,
    "p_anneal": PAnnealConfig,
    "gated": GatedConfig,
    "jumprelu": JumpReLUConfig,
    "jumprelu_tanh": JumpReLUTanhConfig,
    "transcoder": TranscoderConfig,
    "skip_transcoder": TranscoderConfig,
    "crosscoder": CrosscoderConfig,
    OWN: OwnConfig,
}
"""Architecture -> its keys."""


def _tag(value: Any) -> str | None:
    """Which of `TRAINER_CONFIGS` a trainer of a job file is."""
    architecture = value.get("architecture") if isinstance(value, dict) else getattr(value, "architecture", None)
    if not isinstance(architecture, str):
        return None
    return OWN if ":" in architecture else architecture if architecture in TRAINER_CONFIGS else None


if TYPE_CHECKING:
    AnyTrainer = TrainerConfig
else:
    AnyTrainer = Annotated[
        Union[tuple(Annotated[kind, Tag(name)] for name, kind in TRAINER_CONFIGS.items())],  # noqa: UP007
        Discriminator(_tag),
    ]
"""Any of `TRAINER_CONFIGS`, told apart by `architecture`."""
