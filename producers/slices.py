"""Slices of a corpus, their order, and their grouping into units: arithmetic on arrays, no input or output.

A slice is the smallest piece that is read by itself. Slices are kept as one structured array, 36 bytes each, so that a
corpus of terabytes still fits. The order is random, but slices that need the same `part` (a row group) decoded
stay within one window of `WINDOW_TOKENS`: a producer decodes each part once, not once for each of its slices.
"""

import numpy as np

SLICE = np.dtype(
    [("reader", np.int32), ("part", np.int64), ("start", np.int64), ("stop", np.int64), ("tokens", np.float64)]
)
"""reader: which file; part: what must be decoded to reach it; start, stop: rows or bytes; tokens: an estimate."""
WINDOW_TOKENS = 3 * 2**23
"""84 MiB of text or 192 MiB of int64 token ids: the parts of one window fit into `shelf.SHELF_BYTES`."""


def even_slices(part: int, total: int, tokens: float, slice_tokens: float, smallest: int = 1) -> np.ndarray:
    """[0, total) of one part, cut evenly into slices of about `slice_tokens`, none under `smallest` rows or bytes."""
    num_slices = int(max(1, min(round(tokens / max(slice_tokens, 1)), total // smallest)))
    edges = np.arange(num_slices + 1, dtype=np.int64) * total // num_slices
    slices = np.zeros(num_slices if total else 0, SLICE)
    if total:
        slices["part"], slices["start"], slices["stop"] = part, edges[:-1], edges[1:]
        slices["tokens"] = tokens * (slices["stop"] - slices["start"]) / total
    return slices


def shuffled(slices: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The indices of `slices` in a random order in which each part's slices stay in one window."""
    new_part = np.ones(len(slices), bool)
    new_part[1:] = (np.diff(slices["reader"]) != 0) | (np.diff(slices["part"]) != 0)
    part = np.cumsum(new_part) - 1
    rank = rng.permutation(part[-1] + 1)
    by_part = np.argsort(rank[part], kind="stable")
    tokens_before = np.cumsum(np.bincount(rank[part], weights=slices["tokens"])) // WINDOW_TOKENS
    window = tokens_before[rank[part[by_part]]]
    return by_part[np.lexsort((rng.random(len(slices)), window))]


def unit_edges(tokens: np.ndarray, unit_tokens: float) -> np.ndarray:
    """Where units begin and end among slices in order, [num_units + 1]; each has about `unit_tokens`, or one slice."""
    middle = np.cumsum(tokens) - tokens / 2
    unit = np.floor(middle / unit_tokens)
    return np.concatenate([[0], np.flatnonzero(np.diff(unit)) + 1, [len(tokens)]]).astype(np.int64)


def held_out(tokens: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Indices of slices that have about `share` of all tokens, in a random order; none where every slice is too big.

    A slice of more than twice the share is never taken: at most twice as much is held out as was asked for.
    """
    wanted = share * tokens.sum()
    order = rng.permutation(np.flatnonzero(tokens <= 2 * wanted))
    middle = np.cumsum(tokens[order]) - tokens[order] / 2
    return order[middle <= wanted]


def least_share(tokens: np.ndarray) -> float:
    """The smallest share of which `held_out` would take a slice."""
    return float(tokens.min() / (2 * tokens.sum()))
