"""What varies over a run, as functions of the fraction of the token budget that was trained on (0 at the first step).

Fractions of tokens, not of steps, so that trainers with different batch sizes compare.
"""

import math

COSINE_FROM = 0.1
"""Where a rise along a cosine begins (Gemma Scope, arXiv:2408.05147, section 3.2)."""


def warmup(fraction: float, warmup_fraction: float) -> float:
    """Rises linearly from 0 to 1 over `warmup_fraction`, then stays 1."""
    return 1.0 if fraction >= warmup_fraction else fraction / warmup_fraction


def cosine_warmup(fraction: float, warmup_fraction: float) -> float:
    """Rises from a tenth to 1 along half a cosine wave over `warmup_fraction`, then stays 1."""
    return 1 - (1 - COSINE_FROM) * (1 + math.cos(math.pi * warmup(fraction, warmup_fraction))) / 2


def decay(fraction: float, decay_fraction: float) -> float:
    """Stays 1, then falls linearly to 0 over the last `decay_fraction`."""
    return 1.0 if fraction <= 1.0 - decay_fraction else max(0.0, 1.0 - fraction) / decay_fraction


def annealed(fraction: float, anneal_fraction: float, start: float, end: float) -> float:
    """Goes linearly from `start` to `end` over `anneal_fraction`, then stays there."""
    return start + (end - start) * warmup(fraction, anneal_fraction)


def learning_rate(
    fraction: float, peak: float, warmup_fraction: float, decay_fraction: float, warmup_shape: str = "linear"
) -> float:
    """The learning rate of the step that begins at `fraction`."""
    rise = cosine_warmup if warmup_shape == "cosine" else warmup
    return peak * rise(fraction, warmup_fraction) * decay(fraction, decay_fraction)
