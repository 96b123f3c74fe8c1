"""A trainer of a job file: the keys that all architectures share. Imports no torch."""

import difflib
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

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
        return unknown_hookpoint("hookpoint", self.hookpoint, hookpoints)

    def place(self, hookpoints: tuple[str, ...]) -> str:
        """What it trains on, in short, of the job's `hookpoints`."""
        return place_of(self.inputs(hookpoints), self.targets(hookpoints))


def place_of(inputs: Sequence[str], targets: Sequence[str]) -> str:
    """`a`; for a transcoder `a → b`; for a crosscoder `a + b`."""
    return " → ".join(dict.fromkeys(" + ".join(side) for side in (inputs, targets)))


def recorded_place(metadata: Mapping[str, Any]) -> str | None:
    """The same of an SAE on disk, by the metadata in its cfg.json; None where nobody wrote it down."""
    own = metadata.get("headrace") or {}
    if own.get("inputs") and own.get("targets"):
        return place_of(own["inputs"], own["targets"])
    return metadata.get("hf_hook_name") or metadata.get("hook_name")


def unknown_hookpoint(key: str, hookpoint: str | None, hookpoints: tuple[str, ...]) -> str | None:
    if hookpoint is None or hookpoint in hookpoints:
        return None
    near = next(iter(difflib.get_close_matches(hookpoint, hookpoints, n=1)), None)
    hint = f"; did you mean {near}?" if near else ""
    return f"{key} must be one of model.hookpoints ({', '.join(hookpoints)}), got {hookpoint!r}{hint}"
