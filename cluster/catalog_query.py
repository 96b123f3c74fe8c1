"""The catalogue of an SAE's latents: filtered, sorted, a page of it. Pure, in Arrow: 131k latents in some ten ms."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cluster.vocabulary import Vocabulary
from features.explanations import Explanation, Score
from features.labels import Label
from features.patterns import METHOD, SOURCE, patterns_of
from features.word_search import WordHit
from shared.errors import UserError

NUMBERS = ("fired", "density", "mean_act", "mean_act_squared", "skew", "kurtosis", "max_act", "fvu_share")
SORTS = ("latent", *NUMBERS, "score", "clarity", "label")
SHARE = "share"
"""What may be sorted by too where words are looked for in contexts: how much of the activation falls on them."""
CONTEXTS = "contexts"
FILTERS = ("density", "max_act", "fvu_share", "score")
"""Columns that may be held between two bounds."""
STATES = ("", "alive", "dead")
MAX_ROWS = 500
SHOWN_TOKENS = 6


@dataclass(frozen=True)
class CatalogQuery:
    """What to show."""

    sort: str = "latent"
    descending: bool = False
    offset: int = 0
    count: int = 50
    text: str = ""
    """In labels, tags, explanations and promoted tokens, whatever the case; or where `text_in` says."""
    tag: str = ""
    """`*` for any."""
    state: str = ""
    bounds: tuple[tuple[str, float | None, float | None], ...] = ()
    """(column, least, most)."""
    text_in: str = ""
    """`contexts`: the text is what a latent fires on in its top contexts, as `features.word_search` finds it."""

    def __post_init__(self) -> None:
        if self.text_in not in ("", CONTEXTS):
            raise UserError(f"text_in must be {CONTEXTS} or nothing, got {self.text_in!r}")
        sorts = (*SORTS, SHARE) if self.text_in else SORTS
        if self.sort not in sorts:
            raise UserError(f"sort must be one of {', '.join(sorts)}, got {self.sort!r}")
        if self.state not in STATES:
            raise UserError(f"state must be alive or dead, got {self.state!r}")
        if not 0 < self.count <= MAX_ROWS or self.offset < 0:
            raise UserError(f"count must be from 1 to {MAX_ROWS} and offset at least 0")

    @property
    def words_in_contexts(self) -> str:
        """What is looked for there; nothing if nothing is."""
        return self.text.strip() if self.text_in else ""


@dataclass(frozen=True)
class Searchable:
    """A catalogue, with each latent's promoted tokens as text in small letters."""

    table: pa.Table
    promoted: pa.StringArray

    @classmethod
    def of(cls, table: pa.Table, vocabulary: Vocabulary) -> "Searchable":
        ids = table.column("promoted_ids").combine_chunks()
        known = pc.if_else(pc.less(ids.values, len(vocabulary.texts)), ids.values, None)
        words = pc.fill_null(vocabulary.texts.take(known), "")
        joined = pc.binary_join(pa.ListArray.from_arrays(ids.offsets, words), "\n")
        return cls(table, pc.utf8_lower(joined))


@dataclass(frozen=True)
class Said:
    """What was said of some latents."""

    labels: Mapping[int, Label]
    explanations: Mapping[int, Sequence[Explanation]]
    scores: Sequence[Score]

    def score(self, num_latents: int) -> np.ndarray:
        """float64 [latents]: the best that an explanation of the latent reached, of 1; nan where none was judged."""
        best = np.full(num_latents, np.nan)
        for one in self.scores:
            if one.share is not None and one.latent < num_latents:
                best[one.latent] = np.fmax(best[one.latent], one.share)
        return best

    def clarity(self, num_latents: int) -> np.ndarray:
        """float64 [latents]: how well patterns tell where a latent fires, times their purity; nan where none did.

        What comes first fires on one thing, and on it almost always: what people recognise at a glance.
        """
        pure = {
            one.id: patterns_of(one).purity
            for several in self.explanations.values()
            for one in several
            if one.source == SOURCE
        }
        clear = np.full(num_latents, np.nan)
        for one in self.scores:
            if one.value is not None and one.explanation in pure and one.method == METHOD and one.latent < num_latents:
                clear[one.latent] = one.value * pure[one.explanation]
        return clear

    def words(self) -> dict[int, str]:
        """latent -> label, tags and explanations, in small letters."""
        found = {latent: "\n".join([one.text, *one.tags]) for latent, one in self.labels.items()}
        for latent, several in self.explanations.items():
            found[latent] = "\n".join([found.get(latent, ""), *(one.text for one in several)])
        return {latent: text.lower() for latent, text in found.items()}


def catalog_page(
    searchable: Searchable,
    said: Said,
    query: CatalogQuery,
    vocabulary: Vocabulary,
    firing: Sequence[WordHit] | None = None,
) -> dict[str, Any]:
    """The rows that the query wants, how many fit it, and the tags that there are.

    `firing` is what fires on its words in contexts, what does most first, if it looks for any there.
    """
    places, score = matching(searchable, said, query, firing)
    hits = {one.latent: one for one in firing or ()}
    shown = places[query.offset : query.offset + query.count]
    table = searchable.table.take(pa.array(shown))
    numbers = {name: table.column(name).to_pylist() for name in ("latent", *NUMBERS, "dead", "promoted_ids")}
    rows = [
        {
            **{name: values[at] for name, values in numbers.items() if name != "promoted_ids"},
            "score": score[place],
            "promoted": vocabulary.spell(numbers["promoted_ids"][at][:SHOWN_TOKENS]),
            **spoken(said, int(place)),
            **({"share": hits[place].share, "contexts": hits[place].contexts} if hits else {}),
        }
        for at, place in enumerate(shown)
    ]
    return {"num_latents": searchable.table.num_rows, "matching": len(places), "rows": rows, "tags": tags(said)}


def spoken(said: Said, latent: int) -> dict[str, Any]:
    """A latent's label, tags and newest explanation."""
    label, explanations = said.labels.get(latent), said.explanations.get(latent)
    return {
        "label": label.text if label else "",
        "tags": list(label.tags) if label else [],
        "explanation": explanations[-1].text if explanations else "",
    }


def tags(said: Said) -> dict[str, int]:
    """tag -> latents that have it."""
    found: dict[str, int] = {}
    for label in said.labels.values():
        for tag in label.tags:
            found[tag] = found.get(tag, 0) + 1
    return dict(sorted(found.items()))


def matching(
    searchable: Searchable, said: Said, query: CatalogQuery, firing: Sequence[WordHit] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The latents that fit the query, in its order, and the score of every latent."""
    table = searchable.table
    score = said.score(table.num_rows)
    kept = np.ones(table.num_rows, bool)
    if query.state:
        kept &= table.column("dead").to_numpy() == (query.state == "dead")
    for column, least, most in query.bounds:
        values = score if column == "score" else _numbers(table, column)
        with np.errstate(invalid="ignore"):
            kept &= (values >= (-np.inf if least is None else least)) & (values <= (np.inf if most is None else most))
    if query.tag:
        kept &= _among(table.num_rows, [latent for latent, one in said.labels.items() if _has(one, query.tag)])
    if firing is not None:
        kept &= _among(table.num_rows, [one.latent for one in firing])
    elif query.text and not query.text_in:
        kept &= _with_text(searchable, said, query.text.lower())
    places = np.flatnonzero(kept)
    return places[_order(table, said, score, places, query, firing or ())], score


def _order(
    table: pa.Table,
    said: Said,
    score: np.ndarray,
    places: np.ndarray,
    query: CatalogQuery,
    firing: Sequence[WordHit],
) -> np.ndarray:
    """Those that have no value last; equal ones by number."""
    if query.sort == "latent":
        return np.arange(len(places))[::-1] if query.descending else np.arange(len(places))
    if query.sort == "label":
        texts = [said.labels[int(one)].text.lower() if int(one) in said.labels else None for one in places]
        values = pa.array(texts, pa.string())
    else:
        values = pa.array(_sorted_by(table, said, score, query.sort, firing)[places], from_pandas=True)
    found = pa.table({"value": values, "place": places})
    keys = [("value", "descending" if query.descending else "ascending"), ("place", "ascending")]
    return pc.sort_indices(found, sort_keys=keys).to_numpy()


def _sorted_by(table: pa.Table, said: Said, score: np.ndarray, column: str, firing: Sequence[WordHit]) -> np.ndarray:
    """float64 [latents]"""
    if column == "score":
        return score
    if column == SHARE:
        return _ranks(table.num_rows, firing)
    return said.clarity(table.num_rows) if column == "clarity" else _numbers(table, column)


def _ranks(num_latents: int, firing: Sequence[WordHit]) -> np.ndarray:
    """float64 [latents]: the greatest of what fires most; nan of what does not fire on the words."""
    ranks = np.full(num_latents, np.nan)
    ranks[[one.latent for one in firing]] = -np.arange(len(firing))
    return ranks


def _with_text(searchable: Searchable, said: Said, text: str) -> np.ndarray:
    found = pc.match_substring(searchable.promoted, text).to_numpy(zero_copy_only=False)
    return found | _among(len(found), [latent for latent, words in said.words().items() if text in words])


def _among(num_latents: int, latents: Sequence[int]) -> np.ndarray:
    found = np.zeros(num_latents, bool)
    found[[one for one in latents if one < num_latents]] = True
    return found


def _has(label: Label, tag: str) -> bool:
    return bool(label.tags) if tag == "*" else tag in label.tags


def _numbers(table: pa.Table, name: str) -> np.ndarray:
    """float64, nan where there is none."""
    return table.column(name).to_numpy().astype(np.float64)
