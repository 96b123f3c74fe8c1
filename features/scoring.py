"""Explains latents and judges explanations through a judge, latent by latent, into explanations.jsonl and scores.jsonl.

An answer that cannot be read is asked for once more, then for each example alone; what is still missing counts as
failed, in the score and in the totals.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from features import explaining
from features.explanations import Explanation, Explanations, JudgedExample, Score, Scores
from features.judge import Answers, Judge, NoAnswer, request_body, request_hash
from features.judging import NUM_LETTERS_A_TOKEN, Examples, Messages, Method
from features.store import FeatureStore
from features.windows import Decode, Material, material

log = logging.getLogger(__name__)
T = TypeVar("T")
LATENTS_AT_ONCE = 16
PLACEHOLDER = "a description of about as many words as explanations that models write tend to have"
REMINDER = "That could not be read. Answer again, with nothing but what was asked for."


@dataclass(frozen=True)
class Subject:
    """One SAE's features, and what reads its tokens."""

    store: FeatureStore
    decode: Decode
    explanations: Explanations
    scores: Scores
    seed: int = 0

    def material(self, latent: int) -> Material:
        return material(self.store, latent, self.seed)

    def chance(self, latent: int, purpose: str) -> np.random.Generator:
        """Fixed by seed, latent and purpose."""
        return np.random.default_rng((self.seed, latent, *purpose.encode()))


@dataclass
class Done:
    """What came of it."""

    explained: int = 0
    scored: int = 0
    """Scores, one for each explanation and method."""
    unexplained: list[int] = field(default_factory=list)
    """Latents that the judge gave no readable explanation of."""
    failed_examples: int = 0


@dataclass(frozen=True)
class Cost:
    """What scoring would ask for that is not stored yet."""

    calls: int = 0
    prompt_tokens: int = 0
    """About."""
    completion_tokens: int = 0
    """At most."""

    def __add__(self, other: "Cost") -> "Cost":
        mine, theirs = self.__dict__.values(), other.__dict__.values()
        return Cost(*(one + another for one, another in zip(mine, theirs, strict=True)))


def cost_of(
    subject: Subject, latent: int, explained: str | None, methods: Sequence[Method], model: str, known: Answers
) -> Cost:
    """Of one latent. `explained` is the explanation that will be judged; None if the model is to find one.

    A latent whose explanation is stored is reckoned with it, another with a placeholder; unreadable answers, which
    are asked for again, are not foreseen.
    """
    found, windows = Cost(), subject.material(latent)
    if explained is None:
        asked = _explain_question(subject, windows)
        body = request_body(model, asked, explaining.ANSWER_TOKENS)
        stored = known.get(request_hash(body))
        found += Cost() if stored is not None else _call_cost(asked, explaining.ANSWER_TOKENS)
        explained = (explaining.read(stored) if stored else None) or PLACEHOLDER
    for method in methods:
        examples = method.examples(windows, subject.decode, subject.chance(latent, method.name))
        for part in _parts(examples, method.per_call):
            asked, limit = method.ask(explained, part), _limit(method, part)
            if known.get(request_hash(request_body(model, asked, limit))) is None:
                found += _call_cost(asked, limit)
    return found


class Scorer:
    """Explains and judges with `judge`; writes each result as soon as it is there."""

    def __init__(
        self, subject: Subject, judge: Judge, methods: Sequence[Method], on_latent: Callable[[], None] = lambda: None
    ) -> None:
        self.subject, self.judge, self.methods = subject, judge, methods
        self.done = Done()
        self._on_latent = on_latent
        self._free = asyncio.Semaphore(LATENTS_AT_ONCE)

    async def score(self, latents: Sequence[int], given: dict[int, Explanation] | None = None) -> Done:
        """Every latent by every method; `given` explanations are judged as they are, others found first.

        Raises:
            UserError: the endpoint refuses.
        """
        tasks = [asyncio.ensure_future(self._latent(one, (given or {}).get(one))) for one in latents]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
        return self.done

    async def _latent(self, latent: int, given: Explanation | None) -> None:
        async with self._free:
            windows = self.subject.material(latent)
            explanation = given or await self._explained(windows)
            if explanation is not None:
                await asyncio.gather(*(self._judged(windows, explanation, method) for method in self.methods))
            self._on_latent()

    async def _explained(self, windows: Material) -> Explanation | None:
        """The model's explanation; None where it gave none that can be read."""
        asked, latent = _explain_question(self.subject, windows), windows.latent
        text = await self._read(asked, explaining.ANSWER_TOKENS, explaining.read, explaining.REMINDER)
        if text is None:
            log.warning("latent=%d unexplained", latent)
            self.done.unexplained.append(latent)
            return None
        self.done.explained += 1
        known = [one for one in self.subject.explanations.of(latent) if one.source == self.judge.model]
        if known and known[-1].text == text:
            return known[-1]
        shown = explaining.chosen(windows, self.subject.chance(latent, "explain"))
        facts = {"documents": sorted({one.document for one in shown}), "windows": len(shown)}
        return self.subject.explanations.add(Explanation(latent, text, self.judge.model, facts))

    async def _judged(self, windows: Material, explanation: Explanation, method: Method) -> None:
        latent = windows.latent
        examples = method.examples(windows, self.subject.decode, self.subject.chance(latent, method.name))
        asked = [self._answered(explanation.text, part, method) for part in _parts(examples, method.per_call)]
        judged = tuple(one for part in await asyncio.gather(*asked) for one in part)
        value, numbers = method.summary(judged)
        self.subject.scores.add(Score(latent, explanation.id, method.name, self.judge.model, value, numbers, judged))
        self.done.scored += 1
        self.done.failed_examples += numbers["failed"]

    async def _answered(self, text: str, part: Examples, method: Method) -> list[JudgedExample]:
        """The examples of one question with their answers, or without where there is none."""
        found = await self._read(
            method.ask(text, part), _limit(method, part), lambda answer: method.read(answer, part), REMINDER
        )
        if found is not None:
            return found
        if not method.splits or len(part) == 1:
            return list(part)
        alone = await asyncio.gather(*(self._answered(text, [one], method) for one in part))
        return [one for found in alone for one in found]

    async def _read(self, asked: Messages, limit: int, read: Callable[[str], T | None], reminder: str) -> T | None:
        """What `read` makes of the answer, or of a second one; None where neither can be read or comes at all."""
        try:
            said = [(asked, await self.judge.ask(asked, limit))]
            if (found := read(said[0][1])) is None:
                again = [{"role": "assistant", "content": said[0][1]}, {"role": "user", "content": reminder}]
                said.append(([*asked, *again], await self.judge.ask([*asked, *again], limit)))
                found = read(said[1][1])
            for question, answer in said if found is not None else ():
                self.judge.keep(question, limit, answer)
            return found
        except NoAnswer as error:
            log.warning("no answer: %s", error)
            return None


def _explain_question(subject: Subject, windows: Material) -> Messages:
    shown = explaining.chosen(windows, subject.chance(windows.latent, "explain"))
    return explaining.question(shown, windows.max_act, subject.decode)


def _parts(examples: Sequence[JudgedExample], size: int) -> Iterator[Sequence[JudgedExample]]:
    for start in range(0, len(examples), size):
        yield examples[start : start + size]


def _limit(method: Method, part: Examples) -> int:
    """Tokens that the answer may have: what is needed, and as much again for those who talk."""
    return 64 + 2 * method.answer_tokens * len(part)


def _call_cost(asked: Messages, limit: int) -> Cost:
    letters = sum(len(one["content"]) for one in asked)
    return Cost(1, round(letters / NUM_LETTERS_A_TOKEN), limit)
