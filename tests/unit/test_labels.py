"""Labels, explanations and scores: the newest counts, and nothing that was said is lost."""

from pathlib import Path

from features.explanations import Explanation, Explanations, JudgedExample, Score, Scores
from features.labels import Labels


def test_the_newest_label_counts_for_every_reader(tmp_path: Path) -> None:
    labels, other = Labels(tmp_path), Labels(tmp_path)
    labels.add(7, "imports", tags=("python", " python ", "", "safety:none"), author="ada")
    labels.add(3, "quotes")
    assert other.of(7) == labels.of(7)
    other.add(7, " import statements ")
    assert labels.of(7) is not None and labels.of(7).text == "import statements" and labels.of(7).tags == ()
    assert [one.text for one in labels.history(7)] == ["imports", "import statements"]
    assert labels.history(7)[0].tags == ("python", "safety:none") and labels.history(7)[0].author == "ada"
    assert list(labels.all()) == [3, 7]
    assert (tmp_path / "labels.jsonl").read_text().count("\n") == 3


def test_an_empty_label_takes_the_older_ones_back(tmp_path: Path) -> None:
    labels = Labels(tmp_path)
    labels.add(7, "imports", tags=("python",))
    labels.add(7, "", tags=("python",))
    assert labels.of(7) is not None and labels.of(7).tags == ("python",)
    labels.add(7, "")
    assert labels.of(7) is None and labels.all() == {} and len(labels.history(7)) == 3


def test_a_damaged_label_is_named_and_the_others_count(tmp_path: Path) -> None:
    Labels(tmp_path).add(1, "one")
    path = tmp_path / "labels.jsonl"
    path.write_text(path.read_text() + '{"latent": 2, "te')
    labels = Labels(tmp_path)
    assert list(labels.all()) == [1] and labels.damage == ["labels.jsonl line 2 is cut off"]


def test_explanations_hold_one_for_each_source(tmp_path: Path) -> None:
    explanations = Explanations(tmp_path)
    first = explanations.add(Explanation(5, "numbers", "model-a"))
    explanations.add(Explanation(5, "1|2", "n2g", {"patterns": ["1", "2"]}))
    second = explanations.add(Explanation(5, "digits", "model-a"))
    assert [(one.source, one.text) for one in explanations.of(5)] == [("model-a", "digits"), ("n2g", "1|2")]
    assert explanations.of(5)[1].facts == {"patterns": ["1", "2"]}
    assert first.id != second.id and Explanations(tmp_path).of(5)[0].id == second.id
    assert explanations.of(4) == []


def test_scores_carry_every_judged_example(tmp_path: Path) -> None:
    scores, id_ = Scores(tmp_path), Explanation(5, "numbers", "model-a").id
    examples = (JudgedExample("a 1", "top", 3.5, 1, 1, 17, 4), JudgedExample("b", "silent", 0.0, 0, None))
    scores.add(Score(5, id_, "detection", "judge", 0.5, {"failed": 1}))
    scores.add(Score(5, id_, "fuzzing", "judge", None, {"failed": 2}))
    scores.add(Score(5, id_, "detection", "judge", 1.0, {"failed": 1}, examples))
    found = {one.method: one for one in scores.of(5)}
    assert found["detection"].value == 1.0 and found["detection"].examples == examples
    assert found["fuzzing"].value is None and found["fuzzing"].examples == ()
    assert [(one.method, one.examples) for one in scores.all()] == [("detection", ()), ("fuzzing", ())]
