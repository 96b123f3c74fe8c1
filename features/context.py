"""A stretch of text in which a latent fires, or does not."""

from dataclasses import dataclass

import numpy as np

TOP = "top"
SILENT = "silent"
NUM_BINS = 8
BINS = tuple(f"bin{number}" for number in range(NUM_BINS))
"""Ranges of activation, the last holds the latent's greatest; each spans half an octave, but the first all below."""
EXPLAIN, JUDGE = "explain", "judge"


@dataclass(frozen=True, eq=False)
class Context:
    """Some tokens of one document, and one latent's activation at each."""

    latent: int
    group: str
    """TOP, one of BINS, or SILENT."""
    rank: int
    """In its group: of TOP the strongest is 0, of others the order in which they were drawn."""
    split: str
    """EXPLAIN or JUDGE, by the document alone."""
    document: int
    position: int
    """Of the strongest token, in the context that the model saw."""
    start: int
    """Of the first token, likewise."""
    max_act: float
    tokens: np.ndarray
    """int32 [window]"""
    acts: np.ndarray
    """float32 [window]"""
