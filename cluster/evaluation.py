"""Measures SAEs on held-out text: what they reconstruct, and what the model predicts with that in place.

The model's own pass over some contexts serves all SAEs, which then take turns: n SAEs cost n + 1 passes, and four more
for the baselines, which are measured the first time.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from cluster.baselines import Baseline, Targets, measure_baselines
from producers.held_out import ContextBatch, HeldOutText
from producers.predictions import CleanPredictions, PredictionSums, SpliceQuality, splice_quality
from producers.spliced_model import SplicedModel
from shared.errors import UserError
from trainers.quality import (
    DensityHistogram,
    LatentSums,
    Quality,
    ReconstructionSums,
    density_histogram,
    fvu,
    fvu_by_dimension,
    quality,
)
from trainers.sae import SparseAutoencoder

FORMAT_VERSION = 1
ACTS_AT_ONCE = 2**26
"""Activations that are in memory at one time, 256 MiB."""


class Subject(NamedTuple):
    """An SAE that is measured: for raw rows, on the model's device."""

    name: str
    sae: SparseAutoencoder
    inputs: tuple[str, ...]
    targets: Targets


@dataclass(frozen=True)
class Evaluation:
    """What was found of one SAE."""

    name: str
    inputs: tuple[str, ...]
    targets: Targets
    contexts: int
    quality: Quality
    splice: SpliceQuality | None
    no_splice: str
    """Why there is none; empty where there is one."""
    fvu_by_hookpoint: dict[str, float | None]
    density: DensityHistogram
    fvu_by_dimension: tuple[float | None, ...]

    def facts(self) -> dict[str, Any]:
        """For JSON: the numbers of `quality` stand at the top."""
        facts = asdict(self)
        first = {name: facts.pop(name) for name in ("name", "inputs", "targets", "contexts")}
        return {"format_version": FORMAT_VERSION, **first, **facts.pop("quality"), **facts}


class Evaluator:
    """A model, and the contexts that every SAE is measured on."""

    def __init__(self, model: SplicedModel, text: HeldOutText, contexts_per_forward: int) -> None:
        assert text.num_rows > 0, "no held-out rows"
        self._model, self._text, self._contexts = model, text, contexts_per_forward
        self._baselines: dict[Targets, Baseline] = {}

    def num_steps(self, num_subjects: int) -> int:
        """About how often `evaluate` calls `on_step`, the first time."""
        return math.ceil(self._text.num_contexts / self._contexts) * (num_subjects + 1)

    @torch.inference_mode()
    def evaluate(self, subjects: Sequence[Subject], on_step: Callable[[], None] = lambda: None) -> list[Evaluation]:
        """Every number of each of `subjects`, in order; `on_step` is called now and then.

        Raises:
            UserError: the model has no such hookpoint, or not of the width that an SAE reads.
        """
        for subject in subjects:
            _check_hookpoints(subject, self._model.names)
        fresh = {one.targets for one in subjects} - self._baselines.keys()
        if fresh and not self._model.no_logits:
            self._baselines |= measure_baselines(self._model, self._text, self._contexts, fresh, on_step)
        measured = [_Measured(subject) for subject in subjects]
        for batch in self._text.batches(self._contexts):
            self._measure(batch, measured, on_step)
        return [self._evaluation(one) for one in measured]

    def _measure(self, batch: ContextBatch, measured: "list[_Measured]", on_step: Callable[[], None]) -> None:
        forward = self._model.clean(*batch)
        predictions = None if forward.logits is None else CleanPredictions(forward.logits, *batch)
        for one in measured:
            recon = one.reconstruct(forward.rows)
            if predictions is not None:
                one.spliced += predictions.against(self._model.spliced(*batch, recon))
            on_step()

    def _evaluation(self, one: "_Measured") -> Evaluation:
        splice, reason = None, self._model.no_logits
        if not reason and one.spliced.positions == 0:
            reason = "no context has a next token to predict"
        if not reason:
            clean, zero, mean = self._baselines[one.subject.targets]
            splice = splice_quality(clean, one.spliced, zero, mean)
        by_dimension = fvu_by_dimension(one.recon)
        return Evaluation(
            name=one.subject.name,
            inputs=one.subject.inputs,
            targets=one.subject.targets,
            contexts=self._text.num_contexts,
            quality=quality(one.recon, one.latents, torch.linalg.vector_norm(one.subject.sae.W_dec, dim=1)),
            splice=splice,
            no_splice=reason,
            fvu_by_hookpoint={name: fvu(one.recon, part) for name, part in one.parts.items()},
            density=density_histogram(one.latents),
            fvu_by_dimension=tuple(value if math.isfinite(value) else None for value in by_dimension.tolist()),
        )


class _Measured:
    """An SAE and its sums so far."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.recon = ReconstructionSums.none(subject.sae.d_out)
        self.latents = LatentSums.none(subject.sae.num_latents)
        self.spliced = PredictionSums()
        self.parts: dict[str, slice] = {}
        """target -> its columns in a reconstruction."""

    def reconstruct(self, rows: dict[str, Tensor]) -> dict[str, Tensor]:
        """The reconstruction of each target from rows (hookpoint -> [rows, width]), which are added to the sums."""
        sae, targets = self.subject.sae, self.subject.targets
        x, y = self._side_by_side(rows, self.subject.inputs, sae.d_in), self._side_by_side(rows, targets, sae.d_out)
        self.parts = _columns({name: rows[name].shape[1] for name in targets})
        recon = torch.empty_like(y)
        step = max(1, ACTS_AT_ONCE // sae.num_latents)
        for start in range(0, len(x), step):
            part = slice(start, start + step)
            acts, recon[part] = sae.acts_and_recon(x[part])
            self.recon += ReconstructionSums.of(y[part], recon[part])
            self.latents += LatentSums.of(acts, sae.fires_above)
        return {name: recon[:, columns] for name, columns in self.parts.items()}

    def _side_by_side(self, rows: dict[str, Tensor], hookpoints: tuple[str, ...], width: int) -> Tensor:
        joined = torch.cat([rows[name].float() for name in hookpoints], dim=1)
        if joined.shape[1] != width:
            where = " and ".join(hookpoints)
            raise UserError(f"{self.subject.name} has rows of {width} values, and {where} of {joined.shape[1]}")
        return joined


def _check_hookpoints(subject: Subject, known: tuple[str, ...]) -> None:
    for name in (*subject.inputs, *subject.targets):
        if name not in known:
            raise UserError(f"{subject.name} is for {name}, which is none of model.hookpoints ({', '.join(known)})")


def _columns(widths: dict[str, int]) -> dict[str, slice]:
    """Where each hookpoint's values lie when all stand side by side."""
    found, start = {}, 0
    for name, width in widths.items():
        found[name] = slice(start, start + width)
        start += width
    return found
