"""Keys of transcoders and crosscoders, which read or write several hookpoints. Imports no torch."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from shared.active_configs import ActiveConfig
from shared.config_types import AtLeastZero, Fraction, PositiveFloat, Text
from shared.trainer_config import unknown_hookpoint


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
        return unknown_hookpoint("target_hookpoint", self.target_hookpoint, hookpoints)


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
        wrong = (unknown_hookpoint(f"hookpoints[{place}]", one, hookpoints) for place, one in enumerate(named))
        return next((one for one in wrong if one), None)
