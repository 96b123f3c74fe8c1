"""What stands in its window and what is the greatest of its document, against loops over the acts written out."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from features.codes import Codes
from features.peaks import greatest_of_documents, peaks_of, standing_among
from features.text_batch import TextBatch

LATENTS, TOKENS = 3, 16
CASES = {
    "seed": st.integers(0, 2**20),
    "window": st.integers(1, 20),
    "levels": st.sampled_from([1, 2, 4, 10**6]),
    "density": st.sampled_from([0.0, 0.1, 0.5, 1.0]),
}


def case(seed: int, levels: int, density: float) -> tuple[TextBatch, Codes, np.ndarray, np.ndarray]:
    """A batch, its codes by latent, which of these are chosen, and the acts [latents, places], 0 off the rows."""
    draw, shape = np.random.default_rng(seed), (3, TOKENS)
    documents = np.cumsum(draw.random(shape) < 0.15).reshape(shape)
    batch = TextBatch(2, 5, draw.integers(0, 9, shape), documents, draw.random(shape) < 0.9)
    fires = draw.random((LATENTS, batch.num_rows)) < density
    latents, rows = np.nonzero(fires)
    values = (1 + draw.integers(0, levels, len(rows))).astype(np.float32)
    acts = np.zeros((LATENTS, batch.num_places), np.float32)
    acts[latents, batch.row_places[rows]] = values
    chosen = np.flatnonzero(draw.random(len(rows)) < 0.8)
    return batch, Codes(rows.astype(np.int32), latents.astype(np.int32), values), chosen, acts


@settings(max_examples=150, deadline=None)
@given(**CASES)
def test_what_stands_is_the_first_greatest_of_its_window(seed: int, window: int, levels: int, density: float) -> None:
    batch, codes, chosen, acts = case(seed, levels, density)
    draws = np.arange(len(codes.rows), dtype=np.uint64)
    standing = standing_among(codes, chosen, batch, window)
    peaks = peaks_of(codes, standing, draws, batch, window)
    found = {int(place): shown for place, shown in zip(standing.places, peaks.acts.tolist(), strict=True)}
    expected = {}
    for one in chosen.tolist():
        place = batch.row_places[codes.rows[one]]
        (start,), (length,) = batch.windows_around(np.array([place]), window)
        shown = acts[codes.latents[one], start : start + length]
        if start + shown.argmax() == place:
            expected[one] = [*shown.tolist(), *[0.0] * (window - length)]
    assert found == expected and list(found) == sorted(found)
    assert peaks.draws.tolist() == standing.places.tolist()


@settings(max_examples=150, deadline=None)
@given(**CASES)
def test_of_each_document_the_first_greatest_is_found_and_stands(
    seed: int, window: int, levels: int, density: float
) -> None:
    batch, codes, chosen, _ = case(seed, levels, density)
    documents = batch.documents_of(batch.row_places)
    best: dict[tuple[int, int], int] = {}
    for one in chosen.tolist():
        group = int(codes.latents[one]), int(documents[codes.rows[one]])
        if group not in best or codes.values[one] > codes.values[best[group]]:
            best[group] = one
    assert greatest_of_documents(codes, chosen, documents).tolist() == sorted(best.values())
    greatest = greatest_of_documents(codes, np.arange(len(codes.rows)), documents)
    assert standing_among(codes, greatest, batch, window).places.tolist() == greatest.tolist()
