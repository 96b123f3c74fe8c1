"""What is collected against a plain reading of the same acts; halves against the whole; interrupted against not."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from features.ablation_sums import RowErrors
from features.codes import Codes
from features.collection import Collection, Encoded, SaeShape
from features.collection_state import load_collection, save_collection, saved_facts
from features.context import BINS, EXPLAIN, TOP
from features.contexts_table import contexts_tables, silent_table
from features.draw import drawn_for, hashed, is_judged, keyed
from features.histogram import EDGES
from features.settings import CollectionSettings
from features.text_batch import TextBatch, addresses

LATENTS, TOKENS, WIDTH = 5, 12, 3
SETTINGS = CollectionSettings(top_contexts=3, samples_per_bin=2, silent_windows=6, window_tokens=5, seed=4)


@dataclass
class Forward:
    """One forward's text and dense acts."""

    unit: int
    first_context: int
    token_ids: np.ndarray
    documents: np.ndarray
    kept: np.ndarray
    acts: np.ndarray
    """[rows, LATENTS]"""

    def batch(self) -> TextBatch:
        return TextBatch(self.unit, self.first_context, self.token_ids, self.documents, self.kept)

    def encoded(self) -> Encoded:
        rows, latents = np.nonzero(self.acts)
        codes = Codes(rows.astype(np.int32), latents.astype(np.int32), self.acts[rows, latents])
        rises = codes.values.astype(np.float64) ** 2
        return Encoded(codes, RowErrors(len(self.acts), codes.latents, rises, np.full(WIDTH, 1.0), 7.0))


def forwards(seed: int, count: int, coarse: bool = False) -> list[Forward]:
    """Documents of uneven length that go on from one forward to the next; `coarse` acts have many ties."""
    draw, found, document = np.random.default_rng(seed), [], 0
    for number in range(count):
        unit, half = divmod(number, 2)
        document = 0 if half == 0 else document
        shape = (int(draw.integers(1, 4)), TOKENS)
        steps = draw.random(shape[0] * TOKENS) < 0.15
        documents = (document + np.cumsum(steps)).reshape(shape)
        document = int(documents[-1, -1])
        kept = draw.random(shape) < 0.85
        if draw.random() < 0.3:
            documents[-1, -3:], kept[-1, -3:] = -1, False
        acts = draw.exponential(size=(int(kept.sum()), LATENTS)) * (draw.random((int(kept.sum()), LATENTS)) < 0.3)
        acts = np.round(acts * 2) if coarse else acts
        token_ids = draw.integers(0, 99, shape)
        found.append(Forward(unit, 3 * half, token_ids, documents, kept, acts.astype(np.float32)))
    return found


def collected(parts: list[Forward]) -> Collection:
    collection = Collection({"a": SaeShape(LATENTS, WIDTH)}, TOKENS, SETTINGS)
    for part in parts:
        collection.add(part.batch(), {"a": part.encoded()})
    collection.settle()
    return collection


@dataclass(frozen=True)
class Peak:
    """As the plain reading finds it."""

    value: float
    address: int
    document: int
    draw: int
    start: int
    tokens: tuple[int, ...]
    acts: tuple[float, ...]


def plain_peaks(parts: list[Forward], latent: int) -> list[Peak]:
    """Every activation that is the first greatest of its window, by loops."""
    found = []
    for part in parts:
        dense = np.zeros((*part.kept.shape, LATENTS), np.float32)
        dense[part.kept] = part.acts
        for context in range(len(dense)):
            documents = part.documents[context]
            for position in range(TOKENS):
                value = dense[context, position, latent]
                if value == 0:
                    continue
                begin, end = position, position + 1
                while begin > 0 and documents[begin - 1] == documents[position]:
                    begin -= 1
                while end < TOKENS and documents[end] == documents[position]:
                    end += 1
                start = max(begin, min(position - 2 * SETTINGS.window_tokens // 3, end - SETTINGS.window_tokens))
                stop = min(end, start + SETTINGS.window_tokens)
                window = dense[context, start:stop, latent]
                if start + int(window.argmax()) == position:
                    address = addresses(part.unit, np.array(part.first_context + context), position)
                    row_draw = hashed(SETTINGS.seed, address[None])
                    draw = int(drawn_for(row_draw, keyed(np.array([latent])))[0])
                    document = (part.unit << 32) | int(documents[position])
                    tokens = tuple(part.token_ids[context, start:stop].tolist())
                    found.append(
                        Peak(float(value), int(address), document, draw, start, tokens, tuple(window.tolist()))
                    )
    return found


def plain_contexts(parts: list[Forward], latent: int) -> list[tuple]:
    """(group, rank, split, document, position, start, max_act, tokens, acts), in the order of the store."""
    peaks = plain_peaks(parts, latent)
    best: dict[int, Peak] = {}
    for one in sorted(peaks, key=lambda peak: (-peak.value, peak.address)):
        best.setdefault(one.document, one)
    chosen = [(TOP, rank, one) for rank, one in enumerate(list(best.values())[: SETTINGS.top_contexts])]
    if peaks:
        octaves = {one: int(np.floor(2 * np.log2(np.float64(one.value)) + 1e-9)) for one in peaks}
        highest = max(octaves.values())
        for number, group in enumerate(BINS):
            members = [one for one in peaks if max(0, octaves[one] - highest + 7) == number]
            drawn = sorted(members, key=lambda peak: peak.draw)[: SETTINGS.samples_per_bin]
            chosen += [(group, rank, one) for rank, one in enumerate(drawn)]
    return [
        (
            group,
            rank,
            "judge" if is_judged(SETTINGS.seed, np.array([one.document]))[0] else EXPLAIN,
            one.document,
            one.address % 2**18,
            one.start,
            one.value,
            one.tokens,
            one.acts,
        )
        for group, rank, one in chosen
    ]


def stored_contexts(collection: Collection, latent: int) -> list[tuple]:
    (table,) = contexts_tables(collection.collectors["a"], collection.texts, SETTINGS.seed)
    rows = [row for row in table.to_pylist() if row["latent"] == latent]
    return [(*list(row.values())[1:-2], tuple(row["tokens"]), tuple(row["acts"])) for row in rows]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**16), coarse=st.booleans(), data=st.data())
def test_contexts_are_those_of_a_plain_reading_whatever_the_order(seed: int, coarse: bool, data: st.DataObject) -> None:
    parts = forwards(seed, 14, coarse)
    order = data.draw(st.permutations(parts))
    settled = data.draw(st.sets(st.integers(0, len(parts) - 1)))
    collection = Collection({"a": SaeShape(LATENTS, WIDTH)}, TOKENS, SETTINGS)
    for number, part in enumerate(order):
        collection.add(part.batch(), {"a": part.encoded()})
        if number in settled:
            collection.settle()
    collection.settle()
    for latent in range(LATENTS):
        assert stored_contexts(collection, latent) == plain_contexts(parts, latent)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**16), coarse=st.booleans())
def test_where_forwards_are_cut_makes_no_difference(seed: int, coarse: bool) -> None:
    parts = forwards(seed, 10, coarse)
    whole, cut = collected(parts), collected([one for part in parts for one in single_contexts(part)])
    for latent in range(LATENTS):
        assert stored_contexts(cut, latent) == stored_contexts(whole, latent)


def single_contexts(part: Forward) -> list[Forward]:
    """The same text, of which each forward sees one context."""
    edges = np.concatenate([[0], np.cumsum(part.kept.sum(1))])
    return [
        Forward(
            part.unit,
            part.first_context + number,
            part.token_ids[number : number + 1],
            part.documents[number : number + 1],
            part.kept[number : number + 1],
            part.acts[edges[number] : edges[number + 1]],
        )
        for number in range(len(part.kept))
    ]


def test_a_unit_without_text_changes_nothing() -> None:
    parts = forwards(3, 6)
    nothing = np.zeros((0, TOKENS), np.int64)
    empty = Forward(9, 0, nothing, nothing, nothing.astype(bool), np.zeros((0, LATENTS), np.float32))
    whole, with_empty = collected(parts), collected([*parts[:3], empty, *parts[3:]])
    assert with_empty.rows == whole.rows and with_empty.contexts == whole.contexts
    for latent in range(LATENTS):
        assert stored_contexts(with_empty, latent) == stored_contexts(whole, latent)


def test_moments_and_histogram_are_those_of_the_dense_acts() -> None:
    parts = forwards(5, 8)
    acts = np.concatenate([part.acts for part in parts]).astype(np.float64)
    moments = collected(parts).collectors["a"].moments
    assert moments.rows == len(acts) and moments.fired.tolist() == (acts > 0).sum(0).tolist()
    for power in (1, 2, 3, 4):
        np.testing.assert_allclose(moments.mean(power), (acts**power).mean(0), rtol=1e-12)
    np.testing.assert_array_equal(moments.max_act, acts.max(0).astype(np.float32))
    for latent in range(LATENTS):
        above = acts[:, latent][acts[:, latent] > 0]
        np.testing.assert_array_equal(moments.histogram[latent], np.histogram(above, np.array(EDGES))[0])


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**16), cut=st.integers(0, 10), coarse=st.booleans(), swapped=st.booleans())
def test_two_halves_merge_into_the_whole(seed: int, cut: int, coarse: bool, swapped: bool) -> None:
    parts = forwards(seed, 10, coarse)
    whole, first, second = collected(parts), collected(parts[:cut]), collected(parts[cut:])
    merged, other = (second, first) if swapped else (first, second)
    merged.merge(other)
    assert_same(merged, whole)


def test_forwards_in_any_order_give_the_same() -> None:
    parts = forwards(7, 10)
    assert_same(collected(parts[::-1]), collected(parts))


def test_a_collection_goes_on_from_disk_as_if_it_had_never_stopped(tmp_path: Path) -> None:
    parts = forwards(8, 10)
    save_collection(collected(parts[:6]), tmp_path / "state", {"next": 6})
    assert saved_facts(tmp_path / "state") == {"next": 6} and saved_facts(tmp_path) is None
    resumed = Collection({"a": SaeShape(LATENTS, WIDTH)}, TOKENS, SETTINGS)
    load_collection(resumed, tmp_path / "state")
    for part in parts[6:]:
        resumed.add(part.batch(), {"a": part.encoded()})
    resumed.settle()
    assert_same(resumed, collected(parts))


def test_the_pool_is_of_windows_that_do_not_overlap_and_knows_who_fires_in_them() -> None:
    parts = forwards(9, 10)
    collection = collected(parts)
    table = silent_table(collection.pool, collection.collectors["a"], collection.texts, SETTINGS.seed)
    assert table.num_rows == SETTINGS.silent_windows
    by_address = {}
    for part in parts:
        dense = np.zeros((*part.kept.shape, LATENTS), np.float32)
        dense[part.kept] = part.acts
        for context in range(len(dense)):
            address = int(addresses(part.unit, np.array(part.first_context + context), 0))
            by_address[address] = (part.token_ids[context], dense[context])
    seen = set()
    for address, row in zip(collection.pool.addresses.tolist(), table.to_pylist(), strict=True):
        token_ids, acts = by_address[address >> 18 << 18]
        places = range(row["start"], row["start"] + len(row["tokens"]))
        assert row["tokens"] == token_ids[list(places)].tolist()
        assert row["latents"] == np.flatnonzero(acts[list(places)].any(0)).tolist()
        assert not seen & {(address >> 18, place) for place in places}
        seen |= {(address >> 18, place) for place in places}


def test_ablation_share_is_the_mean_rise_times_density_over_variance() -> None:
    parts = forwards(10, 6)
    sums = collected(parts).collectors["a"].ablation
    acts = np.concatenate([part.acts for part in parts]).astype(np.float64)
    density = (acts > 0).mean(0)
    mean = len(parts) / len(acts)
    variance = 7.0 * len(parts) / len(acts) - WIDTH * mean**2
    np.testing.assert_allclose(sums.fvu_share(density), (acts**2).mean(0) / variance, rtol=1e-5)


def assert_same(one: Collection, other: Collection) -> None:
    for latent in range(LATENTS):
        assert stored_contexts(one, latent) == stored_contexts(other, latent)
    mine, theirs = one.collectors["a"], other.collectors["a"]
    assert mine.moments.rows == theirs.moments.rows and one.contexts == other.contexts
    for name in ("fired", "max_act", "histogram"):
        np.testing.assert_array_equal(getattr(mine.moments, name), getattr(theirs.moments, name))
    np.testing.assert_allclose(mine.moments.sums, theirs.moments.sums, rtol=1e-12)
    np.testing.assert_allclose(mine.ablation.rises, theirs.ablation.rises, rtol=1e-12)
    tables = [silent_table(two.pool, two.collectors["a"], two.texts, SETTINGS.seed) for two in (one, other)]
    assert tables[0].equals(tables[1])
