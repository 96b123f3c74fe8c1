"""A histogram in half-octaves as one in equal steps, for viewers that draw those."""

import numpy as np


def in_equal_bins(counts: np.ndarray, edges: np.ndarray, max_act: float, new_edges: np.ndarray) -> np.ndarray:
    """int64 [len(new_edges) - 1]: `counts` between `edges`, spread evenly within each range, none beyond `max_act`.

    The total stays as it is, if the new edges reach from 0 to `max_act`.
    """
    filled = np.flatnonzero(counts)
    if len(filled) == 0:
        return np.zeros(len(new_edges) - 1, np.int64)
    upper = np.minimum(edges[1:], max_act)
    upper[filled[-1]] = max_act
    known_at = np.concatenate([edges[: filled[-1] + 1], upper[filled[-1] : filled[-1] + 1]])
    below = np.concatenate([[0], np.cumsum(counts[: filled[-1] + 1])])
    return np.diff(np.round(np.interp(new_edges, known_at, below))).astype(np.int64)
