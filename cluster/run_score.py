"""`headrace features score`: latents of one SAE explained and judged, without a language model and by one."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cluster.workbench import Workbench
from features.detection import DETECTION
from features.explanations import Explanation, Explanations, Score, Scores
from features.fuzzing import FUZZING
from features.judge import Answers, Judge, Spent
from features.judging import Method
from features.labels import Labels
from features.latent_reading import LatentReader
from features.patterns import METHOD, SOURCE, explanation_of, find_patterns, judge_patterns
from features.quick_judging import QUICK
from features.scoring import Cost, Done, Scorer, Subject, cost_of
from features.simulation import SIMULATION
from features.specificity import SPECIFICITY
from features.store import FeatureStore
from shared.errors import UserError

METHODS: dict[str, Method] = {one.name: one for one in (DETECTION, FUZZING, SPECIFICITY, SIMULATION, QUICK)}
SOURCES = ("model", "label", SOURCE)
LEAST_FIRINGS = 15
"""A latent that fired less often is not drawn: there is too little to judge it by."""


@dataclass(frozen=True)
class Plan:
    """What is to be judged, and what it costs at most."""

    latents: tuple[int, ...]
    given: dict[int, Explanation]
    """Explanations that are judged as they are; empty where the model is to find them."""
    cost: Cost
    left_out: int
    """Latents that the limit of calls leaves no room for."""


@dataclass(frozen=True)
class Outcome:
    """What was done, and what it took."""

    done: Done
    spent: Spent


def subject_of(bench: Workbench, name: str, seed: int = 0) -> Subject:
    """The features of the SAE `name`. Raises UserError if none have been collected."""
    folder = bench.features_folder(name)
    tokenizer = bench.tokenizer

    def decode(ids: Sequence[int]) -> str:
        return tokenizer.decode(list(ids), clean_up_tokenization_spaces=False)

    return Subject(FeatureStore.open(folder), decode, Explanations(folder), Scores(folder), seed)


def answers_of(bench: Workbench) -> Answers:
    """What judges have answered about any SAE of the run."""
    return Answers(bench.folder / "features")


def choose_latents(store: FeatureStore, given: Sequence[int], count: int, seed: int) -> list[int]:
    """`given`, or `count` of those that fire often enough, drawn by `seed`."""
    for latent in given:
        store.record(latent)
    if given:
        return list(dict.fromkeys(given))
    fired = store.catalog.column("fired").to_numpy()
    alive = np.flatnonzero(fired >= LEAST_FIRINGS)
    return sorted(np.random.default_rng(seed).permutation(alive)[:count].tolist())


def score_patterns(
    bench: Workbench, name: str, subject: Subject, latents: Sequence[int], on_latent: Callable[[], None]
) -> list[Score]:
    """Finds each latent's patterns with the model, and counts how right they are."""
    found, sae = [], bench.sae(name)
    if len(sae.inputs) != 1:
        raise UserError(f"{name} reads {len(sae.inputs)} hookpoints at once; patterns need one")
    with bench.in_use:
        reader = LatentReader(bench.model, sae.sae, sae.inputs[0], bench.template.prefix)
        for latent in latents:
            found.append(_score_patterns(subject, reader, latent))
            on_latent()
    return found


def plan(
    subject: Subject,
    latents: Sequence[int],
    methods: Sequence[Method],
    source: str,
    model: str,
    known: Answers,
    limit: int | None,
) -> Plan:
    """Which latents there are means for, and what asking costs. Raises UserError if none has such an explanation."""
    given = _given(subject, latents, source)
    wanted = [one for one in latents if source == "model" or one in given]
    if not wanted:
        raise UserError(f"none of the latents has an explanation of source {source}; there is nothing to judge")
    total, chosen = Cost(), list[int]()
    for latent in wanted:
        text = given[latent].text if latent in given else None
        more = total + cost_of(subject, latent, text, methods, model, known)
        if limit is not None and more.calls > limit:
            break
        total, chosen = more, [*chosen, latent]
    return Plan(tuple(chosen), {one: given[one] for one in chosen if one in given}, total, len(wanted) - len(chosen))


def score_by_judge(
    subject: Subject, planned: Plan, methods: Sequence[Method], judge: Judge, on_latent: Callable[[], None]
) -> Outcome:
    """Does what was planned. Raises UserError if the endpoint refuses."""

    async def score() -> Done:
        async with judge:
            return await Scorer(subject, judge, methods, on_latent).score(planned.latents, planned.given)

    return Outcome(asyncio.run(score()), judge.spent)


def known_scores(subject: Subject, latents: Sequence[int]) -> list[dict[str, Any]]:
    """Of each latent its explanations with their scores, for JSON; examples are in scores.jsonl."""
    wanted, scores = set(latents), dict[str, list[dict[str, Any]]]()
    for score in subject.scores.all():
        told = {"method": score.method, "judge": score.judge, "value": score.value, **score.numbers}
        scores.setdefault(score.explanation, []).append(told)
    explained = [one for latent, all_ in subject.explanations.all().items() if latent in wanted for one in all_]
    return [
        {"latent": one.latent, "source": one.source, "explanation": one.text, "scores": scores.get(one.id, [])}
        for one in explained
    ]


def _score_patterns(subject: Subject, reader: LatentReader, latent: int) -> Score:
    windows = subject.material(latent)
    chance = subject.chance(latent, METHOD)
    patterns = find_patterns(windows, lambda texts: reader.at_end(latent, texts), chance)
    explanation = subject.explanations.add(explanation_of(latent, patterns, subject.decode))
    (value, numbers), judged = judge_patterns(windows, patterns, subject.decode)
    return subject.scores.add(Score(latent, explanation.id, METHOD, "", value, numbers, tuple(judged)))


def _given(subject: Subject, latents: Sequence[int], source: str) -> dict[int, Explanation]:
    """Explanations that are there already."""
    if source == "label":
        labels = Labels(subject.store.folder).all()
        said = [labels[one] for one in latents if one in labels and labels[one].text]
        named = [Explanation(one.latent, one.text, f"person:{one.author}") for one in said]
        return {one.latent: _written_down(subject, one) for one in named}
    if source == SOURCE:
        known = [(one, subject.explanations.of(one)) for one in latents]
        return {one: said for one, all_ in known for said in all_ if said.source == SOURCE}
    return {}


def _written_down(subject: Subject, explanation: Explanation) -> Explanation:
    known = [one for one in subject.explanations.of(explanation.latent) if one.id == explanation.id]
    return known[0] if known else subject.explanations.add(explanation)
