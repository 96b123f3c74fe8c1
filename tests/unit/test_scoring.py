"""On planted features right explanations score high and wrong ones low, whatever the endpoint does meanwhile."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"

import asyncio
import json
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from planted_words import KINDS, NAMES, SAE, plant_and_collect
from rule_judge import RuleJudge, rule_judge

from cluster import run_score
from cluster.exit_code import exit_code
from cluster.run_score import METHODS
from cluster.workbench import Workbench
from features.explaining import question
from features.explaining import read as read_explanation
from features.explanations import Explanation, JudgedExample, Score, Scores
from features.judge import Answers, Judge, NoAnswer, wait_s
from features.labels import Labels
from features.scoring import Scorer, Subject
from features.windows import range_of
from shared.errors import UserError

KEY = "sk-not-to-be-written-down"
ALL = tuple(METHODS.values())
BINARY = ("detection", "fuzzing", "quick")


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return plant_and_collect(tmp_path_factory.mktemp("planted"))


@pytest.fixture(scope="module")
def bench(run_folder: Path) -> Workbench:
    return Workbench.open(run_folder)


@pytest.fixture
def subject(bench: Workbench, tmp_path: Path) -> Subject:
    """The planted SAE's features, with explanations and scores of this test alone."""
    from features.explanations import Explanations

    return replace(run_score.subject_of(bench, SAE), explanations=Explanations(tmp_path), scores=Scores(tmp_path))


def scored(
    subject: Subject,
    judge: RuleJudge,
    folder: Path,
    latents: Sequence[int],
    given: dict[int, Explanation] | None = None,
    methods: Sequence[Any] = ALL,
    **options: Any,
) -> tuple[Scorer, dict[str, Score]]:
    """What `Scorer` did, and the scores of the first latent by method."""
    client = Judge(judge.url, "rule", Answers(folder), KEY, first_wait_s=0.001, **options)

    async def score() -> Scorer:
        async with client:
            scorer = Scorer(subject, client, methods)
            await scorer.score(latents, given)
            return scorer

    scorer = asyncio.run(score())
    return scorer, {one.method: one for one in subject.scores.of(latents[0])}


def test_the_model_explains_and_its_right_explanations_score_high(subject: Subject, tmp_path: Path) -> None:
    with rule_judge() as judge:
        scorer, found = scored(subject, judge, tmp_path, [1, 2, 3, 4])
    assert scorer.done.explained == 4 and scorer.done.scored == 20 and scorer.done.failed_examples == 0
    for latent in (1, 2, 3, 4):
        (explanation,) = subject.explanations.of(latent)
        assert explanation.text == f"words for {NAMES[latent]}" and explanation.source == "rule"
    assert {name: found[name].value for name in BINARY} == dict.fromkeys(BINARY, 1.0)
    assert found["specificity"].value == 3.0
    assert found["simulation"].value is not None and found["simulation"].value > 0.8
    assert all(one.judge == "rule" and one.examples for one in found.values())


def test_a_wrong_explanation_scores_low_and_one_too_broad_in_between(subject: Subject, tmp_path: Path) -> None:
    wrong, broad = Explanation(1, "words for metals", "person:a"), Explanation(1, "animals or colours", "person:b")
    with rule_judge() as judge:
        _, low = scored(subject, judge, tmp_path, [1], {1: wrong})
        scored(subject, judge, tmp_path, [1], {1: broad}, methods=[METHODS["detection"]])
    for name in BINARY:
        assert low[name].value is not None and low[name].value < 0.7, name
    assert low["specificity"].value is not None and low["specificity"].value < 1
    assert low["simulation"].value is not None and low["simulation"].value < 0.2
    value = next(one for one in subject.scores.of(1) if one.explanation == broad.id).value
    assert value is not None and 0.6 < value < 1


def test_none_of_the_judges_documents_was_shown_to_the_explainer(subject: Subject, tmp_path: Path) -> None:
    with rule_judge() as judge:
        _, found = scored(subject, judge, tmp_path, [2])
    (explanation,) = subject.explanations.of(2)
    shown = set(explanation.facts["documents"])
    judged = {one.document for score in found.values() for one in score.examples}
    assert len(shown) >= 5 and len(judged) >= 5 and not shown & judged


def test_questions_hold_what_their_protocol_says(subject: Subject, tmp_path: Path) -> None:
    with rule_judge() as judge:
        _, found = scored(subject, judge, tmp_path, [3])
    material = subject.material(3)
    windows = {subject.decode(one.tokens.tolist()): one for one in (*material.judge, *material.silent)}
    for one in found["detection"].examples:
        assert one.expected == float(windows[one.text].acts.max() > 0)
    marks = Counter(one.group for one in found["fuzzing"].examples)
    assert marks["marked right"] >= 5 and marks["marked elsewhere"] >= 1 and marks["silent"] == 10
    assert [one.expected for one in found["fuzzing"].examples if one.group != "marked right"].count(1) == 0
    quick = found["quick"].examples
    assert len(quick) == 14 and sum(one.expected for one in quick) == 4
    asked = [one for one in judge.requests if "or None" in one["messages"][0]["content"]]
    assert len(asked) == 1 and all(one["temperature"] == 0 for one in judge.requests)


def test_always_saying_none_is_seen_through(subject: Subject) -> None:
    method, material = METHODS["quick"], subject.material(1)
    examples = method.examples(material, subject.decode, np.random.default_rng(0))
    judged = method.read("None", examples)
    assert judged is not None
    value, numbers = method.summary(judged)
    assert numbers["accuracy"] == pytest.approx(10 / 14) and value == 0.5


def test_the_curve_of_specificity_falls_where_the_explanation_no_longer_fits() -> None:
    strengths = [2.0 ** (-half / 2) * 0.99 for half in range(8)]
    assert [range_of(one) for one in strengths] == [7, 6, 5, 4, 3, 2, 1, 0]
    assert range_of(1.0) == 7 and range_of(0.0) == 0
    examples = [
        JudgedExample("", "", 1.0, 3, answer, strength=strength)
        for strength, answer in [(0.99, 3.0), (0.9, 3.0), (0.9, None), (0.3, 2.0), (0.3, 0.0), (0.01, 0.0)]
    ]
    value, numbers = METHODS["specificity"].summary(examples)
    means = [one["mean"] for one in numbers["curve"]]
    assert means == [0.0, None, None, None, 1.0, None, None, 3.0] and value == pytest.approx(4 / 3)
    assert numbers["curve"][4]["fits"] == 0.5 and numbers["failed"] == 1 and numbers["judged"] == 5


def test_a_second_run_asks_nothing(subject: Subject, tmp_path: Path) -> None:
    with rule_judge() as judge:
        _, first = scored(subject, judge, tmp_path, [1, 2])
        asked = len(judge.requests)
        scorer, second = scored(subject, judge, tmp_path, [1, 2])
        assert len(judge.requests) == asked and scorer.judge.spent.calls == 0 and scorer.judge.spent.stored == asked
    assert {name: one.value for name, one in first.items()} == {name: one.value for name, one in second.items()}
    assert first["detection"].examples == second["detection"].examples
    cost = run_score.plan(subject, [1, 2], ALL, "model", "rule", Answers(tmp_path), None).cost
    assert cost.calls == 0


def test_the_cost_is_told_to_the_call_before_it_starts(subject: Subject, tmp_path: Path) -> None:
    planned = run_score.plan(subject, [1, 2], ALL, "model", "rule", Answers(tmp_path), None)
    with rule_judge() as judge:
        scorer, _ = scored(subject, judge, tmp_path, [1, 2])
    assert planned.cost.calls == len(judge.requests) == scorer.judge.spent.calls
    letters = sum(len(part["content"]) for one in judge.requests for part in one["messages"])
    assert planned.cost.prompt_tokens == pytest.approx(letters / 3.5, rel=0.15)
    assert planned.cost.completion_tokens == sum(one["max_tokens"] for one in judge.requests)
    half = run_score.plan(subject, [1, 2], ALL, "model", "rule", Answers(tmp_path / "new"), planned.cost.calls - 1)
    assert half.latents == (1,) and half.left_out == 1


def test_what_goes_wrong_for_a_while_is_tried_again(subject: Subject, tmp_path: Path) -> None:
    mishaps = ["busy", "broken", "garbage", "empty", "ok", "hang", "busy", "broken"]
    with rule_judge(mishaps, hang_s=5.0) as judge:
        scorer, found = scored(subject, judge, tmp_path, [1], methods=[METHODS["detection"]], timeout_s=3.0)
    assert found["detection"].value == 1.0 and found["detection"].numbers["failed"] == 0
    assert scorer.judge.spent.retries >= 7 and scorer.judge.spent.failed == 0


def test_an_answer_that_cannot_be_read_is_asked_for_again_then_one_by_one(subject: Subject, tmp_path: Path) -> None:
    given, detection = {1: Explanation(1, "words for animals", "person:a")}, METHODS["detection"]
    examples = detection.examples(subject.material(1), subject.decode, np.random.default_rng(0))
    questions = -(-len(examples) // detection.per_call)
    with rule_judge(["chatter"] * (questions + 1)) as judge:
        scorer, found = scored(subject, judge, tmp_path, [1], given, [detection], concurrency=1)
    assert len(judge.requests) == questions + questions + detection.per_call, "all once more, the first singly"
    assert all("could not be read" in one["messages"][-1]["content"] for one in judge.requests[questions:-5])
    assert found["detection"].numbers["judged"] == len(examples) and found["detection"].value == 1.0
    assert scorer.done.failed_examples == 0


def test_failures_are_counted_and_never_dropped(subject: Subject, tmp_path: Path) -> None:
    given = {1: Explanation(1, "words for animals", "person:a")}
    with rule_judge(["broken"] * 5) as judge:
        scorer, found = scored(subject, judge, tmp_path, [1], given, [METHODS["quick"]], concurrency=1)
        score = found["quick"]
        assert score.value is None and score.numbers["failed"] == 14 and len(score.examples) == 14
        assert all(one.answered is None for one in score.examples)
        assert scorer.judge.spent.failed == 1 and scorer.done.failed_examples == 14
        scorer, found = scored(subject, judge, tmp_path, [1], given, [METHODS["quick"]])
    assert found["quick"].value == 1.0, "a failure is not stored, and asked about again"


def test_a_latent_that_nobody_explains_is_named(subject: Subject, tmp_path: Path) -> None:
    with rule_judge(["chatter", "chatter"]) as judge:
        scorer, found = scored(subject, judge, tmp_path, [1], methods=[METHODS["quick"]])
    assert scorer.done.unexplained == [1] and found == {} and len(judge.requests) == 2


def test_a_refused_key_ends_it_at_once(subject: Subject, tmp_path: Path) -> None:
    with (
        rule_judge(["refused"] * 99) as judge,
        pytest.raises(UserError, match=r"/v1/chat/completions refuses: 401 Unauthorized"),
    ):
        scored(subject, judge, tmp_path, [1, 2, 3], concurrency=1)
    assert len(judge.requests) == 1


def test_the_key_is_sent_and_written_nowhere(
    subject: Subject, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with rule_judge(["broken"]) as judge:
        scored(subject, judge, tmp_path, [1], methods=[METHODS["quick"]])
    assert set(judge.keys) == {f"Bearer {KEY}"}
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {one.name for one in files} >= {"answers.jsonl", "explanations.jsonl", "scores.jsonl"}
    assert not any(KEY.encode() in path.read_bytes() for path in files) and KEY not in caplog.text


def test_an_endpoint_that_is_not_there_is_no_answer(tmp_path: Path) -> None:
    async def ask() -> None:
        async with Judge("http://127.0.0.1:9/v1", "m", Answers(tmp_path), first_wait_s=0.001) as judge:
            await judge.ask([{"role": "user", "content": "?"}], 5)

    with pytest.raises(NoAnswer, match=r"127\.0\.0\.1:9/v1/chat/completions: ConnectError"):
        asyncio.run(ask())


@pytest.mark.parametrize(
    ("endpoint", "said"),
    [
        ("http://127.0.0.1:9/v1", "127.0.0.1:9/v1 gave no answer (ConnectError); nothing was judged"),
        ("", "--method and --source say how a judge judges, and there is none"),
        ("notaurl", "--endpoint must begin with http:// or https://, got 'notaurl'"),
    ],
)
def test_a_judge_that_cannot_be_reached_is_said_in_a_sentence(
    run_folder: Path, endpoint: str, said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("features.judge.LONGEST_WAIT_S", 0.001)
    judge = ["--endpoint", endpoint, "--model", "m"] if endpoint else []
    words = ["--sae", SAE, "--latent", "1", *judge, "--method", "quick", "--yes"]
    assert exit_code(["features", "score", str(run_folder), *words]) == 2
    assert said in " ".join(capsys.readouterr().err.split())


def test_what_could_not_be_read_is_asked_for_again_next_time(subject: Subject, tmp_path: Path) -> None:
    with rule_judge(["chatter"] * 2) as judge:
        first, _ = scored(subject, judge, tmp_path, [1], methods=[METHODS["quick"]], concurrency=1)
        assert first.done.unexplained == [1]
        second, _ = scored(subject, judge, tmp_path, [1], methods=[METHODS["quick"]], concurrency=1)
    assert second.done.unexplained == [] and second.done.scored == 1


def test_waiting_doubles_and_heeds_what_the_endpoint_asks_for() -> None:
    for tried in range(1, 6):
        assert 0.5 * 2 ** (tried - 1) <= wait_s(tried, None, 1.0) <= 2 ** (tried - 1)
    assert wait_s(1, 7.5, 1.0) == 7.5 and wait_s(9, None, 1.0) <= 60 and wait_s(1, 1e9, 1.0) == 60


@pytest.mark.parametrize(
    ("method", "answer", "found"),
    [
        ("detection", "[1, 0]", [1, 0]),
        ("detection", "First [9], then:\n```json\n[0, 1]\n```", [0, 1]),
        ("detection", "[1, 0, 1]", None),
        ("detection", "[2, 0]", None),
        ("detection", "[true, false]", None),
        ("detection", '["1", "0"]', None),
        ("detection", "1, 0", None),
        ("specificity", "[3, 0]", [3, 0]),
        ("specificity", "[4, 0]", None),
        ("quick", "2", [0, 1]),
        ("quick", " None. ", [0, 0]),
        ("quick", "[1, 2]", [1, 1]),
        ("quick", "3", None),
        ("quick", "Passage 1 and 2", None),
        ("quick", "", None),
    ],
)
def test_only_answers_of_the_right_form_are_read(method: str, answer: str, found: list[int] | None) -> None:
    examples = [JudgedExample("a", "", 1.0, 1, None), JudgedExample("b", "", 0.0, 0, None)]
    read = METHODS[method].read(answer, examples)
    assert (None if read is None else [one.answered for one in read]) == found


def test_a_simulation_must_leave_every_token_as_it_is() -> None:
    simulation = METHODS["simulation"]
    asked = JudgedExample("a b", "", 1.0, 10, None, details={"tokens": ["a", " b"], "acts": [0.0, 10.0]})
    right = json.dumps({"activations": [{"token": "a", "activation": 1}, {"token": " b", "activation": 8}]})
    (judged,) = simulation.read(f"Here: {right}", [asked]) or []
    assert judged.details["guesses"] == [1, 8] and judged.answered == 8
    for wrong in (right.replace(" b", "b"), right.replace("8", "11"), right.replace("8", "null"), right[:-4], "no"):
        assert simulation.read(wrong, [asked]) is None
    value, numbers = simulation.summary([judged, asked])
    assert value == pytest.approx(1.0) and numbers["r_squared"] == pytest.approx(1.0) and numbers["failed"] == 1
    flat = replace(judged, details={**judged.details, "guesses": [3, 3]})
    value, numbers = simulation.summary([flat])
    assert value == 0.0 and numbers["correlation"] is None and numbers["constant"]


def test_an_explanation_is_the_last_line_that_says_so(subject: Subject) -> None:
    assert read_explanation("EXPLANATION: a\nno\nEXPLANATION:  **words for b**  \n") == "words for b"
    assert read_explanation("words for b") is None and read_explanation("EXPLANATION:\nx") is None
    material = subject.material(1)
    user = question(material.explain, material.max_act, subject.decode)[1]["content"]
    assert "⟦ cat⟧" in user and "fires on: " in user
    assert not any(f"⟦ {word}⟧" in user for word in KINDS["metals"])


def test_patterns_explain_without_a_language_model(bench: Workbench, subject: Subject) -> None:
    found = run_score.score_patterns(bench, SAE, subject, [1, 4], lambda: None)
    for latent, score in zip((1, 4), found, strict=True):
        (explanation,) = subject.explanations.of(latent)
        ends = {tuple(one["tokens"]) for one in explanation.facts["patterns"]}
        words = {subject.decode([one[0]]).strip() for one in ends}
        assert all(len(one) == 1 for one in ends), "in this model a word alone decides"
        assert words <= set(KINDS[NAMES[latent]]) and len(words) >= 3
        assert score.value is not None and score.value > 0.7 and score.numbers["true_negative_rate"] == 1.0
        assert score.numbers["tokens"]["precision"] == 1.0 and score.numbers["tokens"]["recall"] > 0.4


def test_the_command_tells_the_cost_scores_and_prints(
    run_folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUDGE_KEY", KEY)
    Labels(run_folder / "features" / SAE).add(1, "words for colours", author="eve")
    with rule_judge() as judge:
        asked = ["features", "score", str(run_folder), "--sae", SAE, "--latent", "1", "--latent", "2"]
        asked += ["--endpoint", judge.url, "--model", "rule", "--key-env", "JUDGE_KEY"]
        assert exit_code([*asked, "--method", "quick"]) == 2
        assert "2 latents: 4 calls" in (said := capsys.readouterr().err) and "give --yes" in said
        assert exit_code([*asked, "--method", "quick", "--yes", "--json"]) == 0
        facts = json.loads(capsys.readouterr().out)
        assert facts["spent"]["calls"] == facts["cost"]["calls"] == 4
        values = {(one["latent"], one["source"]): one["scores"][0]["value"] for one in facts["latents"]}
        assert values[1, "rule"] == values[2, "rule"] == 1.0 and values[1, "n2g"] > 0.6
        assert exit_code([*asked, "--method", "quick", "--source", "label", "--yes"]) == 0
        printed = capsys.readouterr().out
    assert "person:eve" in printed and "words for colours" in printed and "words for animals" in printed
    assert set(judge.keys) == {f"Bearer {KEY}"}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--method", "guess"], "specificity, simulation, quick, got 'guess'"),
        (["--endpoint", "http://x/v1"], "--endpoint and --model go together"),
        (["--source", "me"], "--source must be one of model, label, n2g, got 'me'"),
        (["--latent", "99"], "planted has latents 0 to 11, got 99"),
    ],
)
def test_what_cannot_be_is_one_sentence(
    words: list[str], sentence: str, run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code(["features", "score", str(run_folder), "--sae", SAE, *words]) == 2
    assert sentence in " ".join(capsys.readouterr().err.split())
