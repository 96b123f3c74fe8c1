"""What latents are said to mean, and how well that holds: `explanations.jsonl` and `scores.jsonl`, which only grow.

An explanation's source is `n2g` (found without a language model), a language model's name, or `person:NAME`. A score
belongs to one explanation and carries every example that was judged.
"""

import hashlib
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from features.journal import Journal, Line
from features.labels import now

EXPLANATIONS, SCORES = "explanations.jsonl", "scores.jsonl"
BEST_RATING = 3.0
"""Of specificity."""


@dataclass(frozen=True)
class Explanation:
    """What `source` says that a latent means."""

    latent: int
    text: str
    source: str
    facts: dict[str, Any] = field(default_factory=dict)
    """What the source adds: the patterns of n2g, the contexts that a model was shown."""
    time: str = ""
    """ISO 8601, UTC."""

    @property
    def id(self) -> str:
        """The same for the same words of the same source about the same latent."""
        return hashlib.sha256(f"{self.latent}\0{self.source}\0{self.text}".encode()).hexdigest()[:16]


@dataclass(frozen=True)
class JudgedExample:
    """One question to a judge and what came back."""

    text: str
    """As the judge saw it."""
    group: str
    """`bin0` to `bin7` by its range of activation, or `silent`; fuzzing adds what was marked."""
    max_act: float
    """The latent's largest activation in the window."""
    expected: float
    answered: float | None
    """None where the judge failed."""
    document: int = -1
    start: int = -1
    strength: float = 0.0
    """`max_act` as a share of the latent's greatest."""
    details: dict[str, Any] = field(default_factory=dict)
    """What the method adds, such as a value for each token."""


@dataclass(frozen=True)
class Score:
    """How an explanation did with one method and judge."""

    latent: int
    explanation: str
    """The explanation's id."""
    method: str
    """detection, fuzzing, simulation, specificity, quick or patterns."""
    judge: str
    """The judging model's name; empty for `patterns`, `person:NAME` for a person."""
    value: float | None
    """The method's headline (balanced accuracy, correlation, mean rating); None where nothing could be judged."""
    numbers: dict[str, Any]
    """All that the method reports; `failed` is how many examples have no answer."""
    examples: tuple[JudgedExample, ...] = ()
    time: str = ""

    @property
    def share(self) -> float | None:
        """`value` as a share of the best there is, so that methods can stand in one column: ratings end at 3."""
        return self.value / BEST_RATING if self.value is not None and self.method == "specificity" else self.value


class Explanations:
    """The explanations in an SAE's features folder."""

    def __init__(self, folder: Path) -> None:
        self._journal = Journal(folder / EXPLANATIONS, required=_names(Explanation))

    def add(self, explanation: Explanation) -> Explanation:
        """Writes it down, dated now."""
        dated = replace(explanation, time=explanation.time or now())
        self._journal.append([{"id": dated.id, **asdict(dated)}])
        return dated

    def of(self, latent: int) -> list[Explanation]:
        """The newest of each source, in the order in which the sources first spoke."""
        return self.all().get(latent, [])

    def all(self) -> dict[int, list[Explanation]]:
        """latent -> the newest explanation of each source."""
        found: dict[int, dict[str, Explanation]] = {}
        for line in self._journal.lines():
            one = _explanation(line.record)
            found.setdefault(one.latent, {})[one.source] = one
        return {latent: list(found[latent].values()) for latent in sorted(found)}

    @property
    def damage(self) -> list[str]:
        """A sentence for each line of the file that cannot be read."""
        return self._journal.damage


class Scores:
    """The scores in an SAE's features folder; examples stay on disk until they are asked for."""

    def __init__(self, folder: Path) -> None:
        self._journal = Journal(folder / SCORES, required=_names(Score), left_out=("examples",))

    def add(self, score: Score) -> Score:
        """Writes it down, dated now."""
        dated = replace(score, time=score.time or now())
        self._journal.append([asdict(dated)])
        return dated

    def of(self, latent: int) -> list[Score]:
        """The newest of each explanation, method and judge, with every example."""
        lines = [line for line in self._newest() if line.record["latent"] == latent]
        return [_score(self._journal.at(line.offset)) for line in lines]

    def all(self) -> list[Score]:
        """The newest of each explanation, method and judge, without examples; by latent."""
        lines = sorted(self._newest(), key=lambda line: line.record["latent"])
        return [_score({**line.record, "examples": ()}) for line in lines]

    @property
    def damage(self) -> list[str]:
        """A sentence for each line of the file that cannot be read."""
        return self._journal.damage

    def _newest(self) -> list[Line]:
        lines = self._journal.lines()
        newest = {tuple(line.record[key] for key in ("explanation", "method", "judge")): line for line in lines}
        return list(newest.values())


def _names(kind: type[Explanation] | type[Score]) -> tuple[str, ...]:
    return tuple(one.name for one in fields(kind))


def _explanation(record: dict[str, Any]) -> Explanation:
    return Explanation(**{name: record[name] for name in _names(Explanation)})


def _score(record: dict[str, Any]) -> Score:
    examples = tuple(JudgedExample(**one) for one in record["examples"])
    return Score(**{**{name: record[name] for name in _names(Score)}, "examples": examples})
