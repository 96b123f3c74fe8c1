"""Random numbers that depend on what they are drawn for, and on nothing else: so samples of parts merge into those of
the whole, and a collector that begins again draws the same.
"""

import numpy as np

STEP = np.uint64(0x9E3779B97F4A7C15)


def hashed(seed: int, keys: np.ndarray) -> np.ndarray:
    """uint64, one for each of `keys`, by splitmix64."""
    return drawn_for(keyed(np.array(seed)), keyed(keys))


def keyed(keys: np.ndarray) -> np.ndarray:
    """uint64, of integers: what `drawn_for` takes."""
    return _mixed(np.asarray(keys).astype(np.uint64))


def drawn_for(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """uint64, for pairs of what was keyed or drawn before, by broadcasting."""
    return _mixed(first ^ second)


def is_judged(seed: int, documents: np.ndarray) -> np.ndarray:
    """bool: whether a document is kept for judging explanations; half of them are, the others are for making them."""
    return (hashed(seed, documents) >> np.uint64(63)).astype(bool)


def _mixed(state: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        state = state + STEP
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return state ^ (state >> np.uint64(31))
