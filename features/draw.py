"""Random numbers that depend on what they are drawn for, and on nothing else: so samples of parts merge into those of
the whole, and a collector that begins again draws the same."""

import numpy as np

STEP = np.uint64(0x9E3779B97F4A7C15)


def hashed(seed: int, *keys: np.ndarray | int) -> np.ndarray:
    """uint64, by broadcasting: splitmix64 over `seed` and each of `keys` in turn."""
    state = _mixed(np.asarray(seed).astype(np.uint64))
    for key in keys:
        state = _mixed(state ^ _mixed(np.asarray(key).astype(np.uint64)))
    return state


def is_judged(seed: int, documents: np.ndarray) -> np.ndarray:
    """bool: whether a document is kept for judging explanations; half of them are, the others are for making them."""
    return (hashed(seed, documents) >> np.uint64(63)).astype(bool)


def _mixed(state: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        state = state + STEP
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return state ^ (state >> np.uint64(31))
