"""`headrace features steer` and the page: what a user asks of a run's latents, done on its workbench."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from cluster.workbench import Workbench
from features.comparison import Comparison, compare
from features.dose_response import Dose, dose_response
from features.generation import Sampling
from features.steering import Steering, Where
from features.store import FeatureStore
from shared.errors import UserError

UNITS = ("max", "absolute")
NUM_TARGETS = 10
"""Tokens that a latent promotes most count as those that it stands for."""


@dataclass(frozen=True)
class Turn:
    """One latent of one SAE, and what is to become of it."""

    sae: str
    latent: int
    mode: Any = "add"
    """As `features.steering.Mode`."""
    strength: float = 1.0
    unit: str = "max"
    """max: of the latent's largest activation, as its features say; absolute: of its activation."""
    on: Where = "both"


def steering_of(bench: Workbench, turn: Turn) -> Steering:
    """Raises UserError if there is no such SAE or latent, or its largest activation is not known."""
    if turn.unit not in UNITS:
        raise UserError(f"unit must be {' or '.join(UNITS)}, got {turn.unit!r}")
    subject = bench.sae(turn.sae)
    if len(subject.inputs) != 1 or len(subject.targets) != 1:
        raise UserError(f"{turn.sae} reads {len(subject.inputs)} hookpoints at once, and cannot be steered with")
    place, output = subject.inputs[0], subject.targets[0]
    absolute = turn.unit == "absolute" or turn.mode in ("scale", "ablate") or turn.strength == 0
    steering = Steering(subject.sae, place, turn.latent, turn.mode, turn.strength, on=turn.on, output=output)
    unit = 1.0 if absolute else _largest(bench, turn)
    return Steering(**{**steering.__dict__, "unit": unit, "output": None if output == place else output})


def targets_of(bench: Workbench, turns: Sequence[Turn], words: Sequence[str] = ()) -> list[int]:
    """The token ids of `words`, or else those that the latents promote most.

    Raises:
        UserError: a word is not one token, so that counting tokens would not count it.
    """
    if words:
        return sorted({_token_of(bench, word) for word in words})
    stores = [(FeatureStore.open(bench.features_folder(turn.sae)), turn.latent) for turn in turns]
    return sorted({int(one) for store, latent in stores for one in store.record(latent).promoted_ids[:NUM_TARGETS]})


def _token_of(bench: Workbench, word: str) -> int:
    ids: list[int] = bench.tokenizer(word, add_special_tokens=False)["input_ids"]
    if len(ids) != 1:
        pieces = " ".join(repr(one) for one in bench.texts(ids)) or "none"
        raise UserError(f"--target must be one token, got {word!r}, of which the model makes {pieces}")
    return ids[0]


def prepared(bench: Workbench, turns: Sequence[Turn], text: str) -> tuple[list[Steering], Tensor]:
    """What is done to the model, and the prompt's token ids. Raises UserError for what cannot be done."""
    if bench.spliced.no_logits:
        raise UserError(f"there is nothing to steer: {bench.spliced.no_logits}")
    return [steering_of(bench, turn) for turn in turns], bench.encode(text)


def compare_turns(
    bench: Workbench,
    turns: Sequence[Turn],
    text: str,
    sampling: Sampling,
    on_text: Callable[[str, str], None] = lambda side, text: None,
) -> dict[str, Any]:
    """Baseline and steered after the prompt `text`, for JSON.

    `on_text` gets `baseline` or `steered` and what the first sample is so far, at each token.
    """
    written: dict[str, list[int]] = {"baseline": [], "steered": []}

    def show(side: str, tokens: Tensor) -> None:
        written[side].append(int(tokens[0]))
        on_text(side, bench.tokenizer.decode(written[side]))

    with bench.in_use:
        steerings, prompt = prepared(bench, turns, text)
        found = compare(bench.model, bench.tokenizer, prompt, steerings, sampling, show)
    told = [_turn_facts(turn, steering) for turn, steering in zip(turns, steerings, strict=True)]
    return {"prompt": text, "seed": sampling.seed, "steerings": told, "samples": samples_facts(bench, found)}


def dose_turns(
    bench: Workbench, turns: Sequence[Turn], text: str, doses: Sequence[float], targets: list[int], sampling: Sampling
) -> dict[str, Any]:
    """The response to each of `doses`, for JSON; each multiplies the turns' strengths."""
    with bench.in_use:
        steerings, prompt = prepared(bench, turns, text)
        found = dose_response(bench.model, bench.tokenizer, prompt, steerings, doses, sampling, targets)
    told = [_turn_facts(turn, steering) for turn, steering in zip(turns, steerings, strict=True)]
    responses = [_dose_facts(bench, one) for one in found]
    return {
        "prompt": text,
        "seed": sampling.seed,
        "steerings": told,
        "targets": bench.texts(targets),
        "doses": responses,
    }


def samples_facts(bench: Workbench, found: Comparison) -> list[dict[str, Any]]:
    """One object a sample."""
    return [
        {
            "baseline": bench.tokenizer.decode(baseline.tolist()),
            "steered": bench.tokenizer.decode(steered.tolist()),
            "steered_tokens": bench.texts(steered),
            "kl": [round(one, 5) for one in kl.tolist()],
            "mean_kl": kl.mean().item(),
            "surprise": loss.mean().item(),
        }
        for baseline, steered, kl, loss in zip(found.baseline, found.steered, found.kl, found.loss, strict=True)
    ]


def _largest(bench: Workbench, turn: Turn) -> float:
    largest = FeatureStore.open(bench.features_folder(turn.sae)).record(turn.latent).max_act
    if largest <= 0:
        raise UserError(f"latent {turn.latent} of {turn.sae} never fired, so it has no largest activation")
    return largest


def _turn_facts(turn: Turn, steering: Steering) -> dict[str, Any]:
    return {**turn.__dict__, "unit": turn.unit, "one_is": steering.unit}


def _dose_facts(bench: Workbench, one: Dose) -> dict[str, Any]:
    return {**one.__dict__, "written": [bench.tokenizer.decode(text.tolist()) for text in one.written]}
