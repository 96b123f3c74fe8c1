"""Steering on the page: what the model writes by itself, then steered, as it comes; and dose and response."""

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field

from cluster.run_steer import Turn as SteeringTurn
from cluster.run_steer import dose_turns, prepared, targets_of
from cluster.vocabulary import Vocabulary
from cluster.workbench import Workbench
from features.comparison import look_at
from features.generation import Sampling, stream
from features.steering import Steering, steer
from features.store import FeatureStore

MAX_NEW_TOKENS = 200
DOSES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0)
DOSE_SAMPLES = 2
DOSE_TOKENS = 24
"""At most so many are written at each dose."""


class Turn(BaseModel):
    """One latent, and what is done with it."""

    model_config = ConfigDict(extra="forbid", strict=True)
    latent: int
    mode: str = "add"
    strength: float = 1.0
    unit: str = Field("max", pattern="^(max|absolute)$")
    """Of the strength: the latent's greatest activation, or 1."""
    on: str = "both"


class SteeringRequest(BaseModel):
    """What the panel asks for."""

    model_config = ConfigDict(extra="forbid", strict=True)
    turns: list[Turn] = Field(min_length=1, max_length=20)
    prompt: str = Field(max_length=20_000)
    max_new_tokens: int = Field(60, ge=1, le=MAX_NEW_TOKENS)
    temperature: float = Field(0.7, ge=0, le=2)
    seed: int = 0

    @property
    def sampling(self) -> Sampling:
        return Sampling(self.max_new_tokens, self.temperature, self.seed)


def turns_of(store: FeatureStore, request: SteeringRequest) -> list[SteeringTurn]:
    """The request's, as the command line has them."""
    return [SteeringTurn(store.meta.trainer, **one.model_dump()) for one in request.turns]


def written(
    bench: Workbench, store: FeatureStore, request: SteeringRequest, vocabulary: Vocabulary
) -> Iterator[dict[str, Any]]:
    """First `{"prompt": text}`, then `{"part": "baseline" | "steered", "text": all so far}` as it is written, then

    `{"kl": […], "loss": […], "tokens": […]}` of the steered text. Raises UserError, at once, for what cannot be done.
    """
    with bench.in_use:
        turned, prompt = prepared(bench, turns_of(store, request), request.prompt)
    return _from_a_thread(bench, lambda: _lines(bench, prompt, turned, request.sampling, vocabulary))


def _from_a_thread(bench: Workbench, work: Callable[[], Iterator[dict[str, Any]]]) -> Iterator[dict[str, Any]]:
    """What `work` gives, as a thread that holds the bench goes through it; it stops when nobody reads on."""
    lines: queue.Queue[dict[str, Any] | None] = queue.Queue()
    leaving = threading.Event()

    def go_through() -> None:
        try:
            with bench.in_use:
                for line in work():
                    if leaving.is_set():
                        return
                    lines.put(line)
        except Exception as error:  # what goes wrong after the answer has begun can only be said in it
            lines.put({"error": str(error)})
        finally:
            lines.put(None)

    threading.Thread(target=go_through, name="steering", daemon=True).start()
    try:
        while (line := lines.get()) is not None:
            yield line
    finally:
        leaving.set()


def respond(bench: Workbench, store: FeatureStore, request: SteeringRequest, vocabulary: Vocabulary) -> dict[str, Any]:
    """The response to several doses of the request's steering, and the tokens that its latents stand for."""
    turns = turns_of(store, request)
    targets = targets_of(bench, turns)
    sampling = Sampling(min(DOSE_TOKENS, request.max_new_tokens), request.temperature, request.seed, DOSE_SAMPLES)
    found = dose_turns(bench, turns, request.prompt, DOSES, targets, sampling)
    return {"doses": found["doses"], "targets": vocabulary.spell(targets)}


def _lines(
    bench: Workbench, prompt: torch.Tensor, turned: Sequence[Steering], sampling: Sampling, vocabulary: Vocabulary
) -> Iterator[dict[str, Any]]:
    model, tokenizer = bench.model, bench.tokenizer
    yield {"prompt": tokenizer.decode(prompt.tolist())}
    tokens: list[torch.Tensor] = []
    for part in ("baseline", "steered"):
        tokens = []
        turning = steer(model, tokenizer, turned, prompt_tokens=len(prompt)) if part == "steered" else nullcontext()
        with turning:
            for token in stream(model, prompt, sampling):
                tokens.append(token[0])
                yield {"part": part, "text": tokenizer.decode(torch.stack(tokens).tolist())}
    if tokens:
        (look,) = look_at(model, tokenizer, prompt, [torch.stack(tokens)], turned)
        spelt = vocabulary.spell(torch.stack(tokens).tolist())
        yield {"kl": look.kl.tolist(), "loss": look.loss.tolist(), "tokens": spelt}
