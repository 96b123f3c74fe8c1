"""The features of all runs, opened once: stores, what people and judges said, vocabularies, and benches to work at.

A store that was collected anew is opened again; a bench loads its model and SAEs when something first needs them.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from cluster.catalog_query import Said, Searchable
from cluster.latent_view import said_view
from cluster.ui_runs import Runs
from cluster.vocabulary import Vocabulary
from cluster.workbench import Workbench
from features.explanations import Explanations, Scores
from features.labels import Labels
from features.patterns import METHOD
from features.store import FeatureStore
from features.store_meta import META
from features.word_search import Spelling, WordHit, latents_on
from shared.errors import UserError

Made = TypeVar("Made")
UNSCORED = "fvu_share"
"""What a list is sorted by where nothing was scored: what a latent is worth."""


@dataclass
class Features:
    """One SAE's."""

    store: FeatureStore
    labels: Labels
    explanations: Explanations
    scores: Scores
    vocabulary: Vocabulary
    collected_ns: int
    """When meta.json was written, the last of the store's files."""
    _searchable: Searchable | None = None
    _making: threading.Lock = field(default_factory=threading.Lock)
    _firing: tuple[str, list[WordHit]] | None = None
    _looking: threading.Lock = field(default_factory=threading.Lock)

    def said(self) -> Said:
        """What was said of all latents by now."""
        return Said(self.labels.all(), self.explanations.all(), self.scores.all())

    def said_of(self, latent: int) -> dict[str, Any]:
        """What was said of one, with every example that was judged."""
        label, history = self.labels.of(latent), self.labels.history(latent)
        return said_view(history, label, self.explanations.of(latent), self.scores.of(latent))

    @property
    def telling_column(self) -> str:
        """What a list is sorted by where nobody says: clarity, score, or what a latent is worth, as far as is known."""
        methods = {one.method for one in self.scores.all()}
        return "clarity" if METHOD in methods else "score" if methods else UNSCORED

    @property
    def searchable(self) -> Searchable:
        """What the catalogue searches in, made at the first search."""
        with self._making:
            if self._searchable is None:
                self._searchable = Searchable.of(self.store.catalog, self.vocabulary)
            return self._searchable

    def firing_on(self, words: str, spelled: Callable[[], Spelling]) -> list[WordHit]:
        """What fires on `words` in its contexts, which are all gone through; one search at a time.

        The last is kept, since whoever has searched sorts it and turns its pages.
        """
        with self._looking:
            if self._firing is None or self._firing[0] != words:
                self._firing = words, latents_on(self.store, spelled())
            return self._firing[1]


class Shelf:
    """Features by run and SAE."""

    def __init__(self, runs: Runs) -> None:
        self._runs = runs
        self._open: dict[tuple[str, str], Features] = {}
        self._benches: dict[str, Workbench] = {}
        self._vocabularies: dict[str, Vocabulary] = {}
        self._lock = threading.RLock()

    def names(self, run: str) -> list[str]:
        """The SAEs of a run whose features were collected."""
        return self._runs.features(run)

    def features(self, run: str, sae: str) -> Features:
        """Raises UserError if nothing was collected of an SAE of this name."""
        if sae not in (names := self.names(run)):
            known = f"it has those of {', '.join(names)}" if names else f"collect them: headrace features collect {run}"
            raise UserError(f"run {run} has no features of an SAE named {sae}; {known}")
        folder = self._runs.folder(run) / "features" / sae
        with self._lock:
            collected_ns = (folder / META).stat().st_mtime_ns
            found = self._open.get((run, sae))
            if found is None or found.collected_ns != collected_ns:
                found = self._open[run, sae] = self._opened(run, folder, collected_ns)
            return found

    def bench(self, run: str) -> Workbench:
        """Where the run's model and SAEs can be put to work."""
        return self._once(self._benches, run, lambda: Workbench.open(self._runs.folder(run)))

    def vocabulary(self, run: str) -> Vocabulary:
        """Of the run's tokenizer; nameless where it has none."""
        return self._once(self._vocabularies, run, lambda: _vocabulary(self.bench(run)))

    def _opened(self, run: str, folder: Path, collected_ns: int) -> Features:
        store, spoken = FeatureStore.open(folder), (Labels(folder), Explanations(folder), Scores(folder))
        return Features(store, *spoken, self.vocabulary(run), collected_ns)

    def _once(self, made: dict[str, Made], run: str, make: Callable[[], Made]) -> Made:
        with self._lock:
            if run not in made:
                made[run] = make()
            return made[run]


def _vocabulary(bench: Workbench) -> Vocabulary:
    try:
        return Vocabulary.of(bench.tokenizer)
    except UserError:
        return Vocabulary.nameless(0)
