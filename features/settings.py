"""What a collection keeps, and how much of it."""

from dataclasses import dataclass

from features.context import NUM_BINS


@dataclass(frozen=True)
class CollectionSettings:
    """The same for every SAE of a run; collections merge only where these are equal."""

    top_contexts: int = 32
    """Documents of which a latent's strongest context is kept."""
    samples_per_bin: int = 4
    """Contexts drawn from each of the ranges of activation."""
    silent_windows: int = 2000
    """Windows in the pool that all latents share."""
    window_tokens: int = 64
    """At most so many tokens are kept of a context."""
    seed: int = 0

    def slot_bytes(self, num_latents: int) -> int:
        """Memory for the contexts of an SAE."""
        slots = self.top_contexts + NUM_BINS * self.samples_per_bin
        return num_latents * slots * (4 * self.window_tokens + 32)
