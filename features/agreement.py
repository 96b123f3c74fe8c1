"""How far two raters agree, beyond what chance alone would give."""

from collections.abc import Sequence

import numpy as np


def weighted_kappa(pairs: Sequence[tuple[int, int]], num_ratings: int) -> float | None:
    """Cohen's kappa with quadratic weights, of (one's rating, the other's) from 0 to num_ratings - 1.

    1 - sum(w o) / sum(w e), w = (i - j)^2, o the pairs found, e those expected of the two raters' habits alone.

    Returns:
        1 for perfect agreement, 0 for chance; None where no disagreement was possible, or there are no pairs.
    """
    if not pairs:
        return None
    found = np.zeros((num_ratings, num_ratings))
    np.add.at(found, tuple(np.array(pairs).T), 1)
    expected = np.outer(found.sum(1), found.sum(0)) / len(pairs)
    ratings = np.arange(num_ratings)
    weight = (ratings[:, None] - ratings) ** 2
    possible = float((weight * expected).sum())
    return 1 - float((weight * found).sum()) / possible if possible else None
