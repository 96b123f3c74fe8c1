"""Ranges of activation that are the same for every latent and every SAE: half-octaves, so that histograms add up."""

import numpy as np

LOWEST, NUM_BINS = -32, 64
EDGES = tuple(2.0 ** (half / 2) for half in range(LOWEST, LOWEST + NUM_BINS + 1))
"""2^-16 to 2^16; what is outside is counted in the first or the last."""
MANTISSA_BITS, BIAS = 23, 127
ROOT_OF_TWO = np.float32(2**0.5).view(np.int32) & ((1 << MANTISSA_BITS) - 1)


def half_octave(values: np.ndarray) -> np.ndarray:
    """floor(2 log2(value)) of float32 values above zero, int32, by their bits: no rounding, and no logarithm."""
    bits = np.ascontiguousarray(values, np.float32).view(np.int32)
    exponent = (bits >> MANTISSA_BITS) - BIAS
    return 2 * exponent + ((bits & ((1 << MANTISSA_BITS) - 1)) >= ROOT_OF_TWO)


def bin_of(half_octaves: np.ndarray) -> np.ndarray:
    """The number of the histogram's bin."""
    return np.clip(half_octaves - LOWEST, 0, NUM_BINS - 1)
