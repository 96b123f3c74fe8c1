"""Collects the features of one SAE from its codes, in memory that does not grow with the text."""

import numpy as np

from features.ablation_sums import AblationSums, RowErrors
from features.codes import Codes
from features.draw import drawn_for, keyed
from features.moments import Moments
from features.peaks import Peaks, greatest_of_documents, peaks_of, standing_among
from features.settings import CollectionSettings
from features.silent_pool import latents_in
from features.slots import RangeSamples, TopDocuments
from features.text_batch import TextBatch

PENDING_PER_LATENT, LEAST_PENDING, PENDING_BYTES = 16, 2**13, 2**26
"""Peaks that wait to be offered together. Sorting what is held costs the same for few and many, but the longer they
wait the longer it takes until less is let in."""


class Collector:
    """Moments, top contexts and samples of L latents."""

    def __init__(self, num_latents: int, d_out: int, settings: CollectionSettings) -> None:
        self.num_latents, self._settings = num_latents, settings
        window = settings.window_tokens
        self.moments = Moments.none(num_latents)
        self.ablation = AblationSums.none(num_latents, d_out)
        self.top = TopDocuments(num_latents, settings.top_contexts, window)
        self.samples = RangeSamples(num_latents, settings.samples_per_bin, window)
        self.pool_latents: dict[int, np.ndarray] = {}
        """Address of a window in the pool -> the latents that fire in it, int32, each as often as it does."""
        self._keys = keyed(np.arange(num_latents))
        self._pending: list[tuple[Peaks, Peaks]] = []
        self._num_pending = 0
        most = PENDING_BYTES // (4 * window)
        self._most_pending = min(most, max(LEAST_PENDING, PENDING_PER_LATENT * num_latents))

    def add(
        self, batch: TextBatch, codes: Codes, errors: RowErrors, row_draws: np.ndarray, pool_windows: np.ndarray
    ) -> None:
        """Takes in the codes, sorted by row, of a batch.

        Args:
            errors: of some of the rows.
            row_draws: uint64 [rows], from which each activation's own draw follows.
            pool_windows: int [2, n], first places and lengths of the windows that entered the pool.
        """
        if pool_windows.size:
            entered = batch.addresses_of(pool_windows[0]).tolist()
            self.pool_latents |= zip(entered, latents_in(codes, batch, pool_windows), strict=True)
        self.ablation.add(errors)
        codes = codes.by_latent()
        self.moments.add(codes, batch.num_rows)
        draws = drawn_for(row_draws[codes.rows], self._keys[codes.latents])
        for_top, for_samples = self._peaks(codes, draws, batch)
        self._pending.append((for_top, for_samples))
        self._num_pending += len(for_top.latents) + len(for_samples.latents)
        if self._num_pending > self._most_pending:
            self.settle()

    def _peaks(self, codes: Codes, draws: np.ndarray, batch: TextBatch) -> tuple[Peaks, Peaks]:
        """Of codes sorted by latent what may enter the top, of each document the greatest alone, and the samples."""
        window = self._settings.window_tokens
        may_enter = np.flatnonzero(self.top.may_enter(codes.latents, codes.values, draws))
        offered = np.zeros((2, len(codes.latents)), bool)
        offered[0, greatest_of_documents(codes, may_enter, batch.documents_of(batch.row_places))] = True
        offered[1] = self.samples.may_enter(codes.latents, codes.values, draws)
        standing = standing_among(codes, np.flatnonzero(offered.any(0)), batch, window)
        peaks = peaks_of(codes, standing, draws, batch, window)
        for_top, for_samples = offered[:, standing.places]
        return peaks.at(for_top), peaks.at(for_samples)

    def settle(self) -> None:
        """Offers what waits to the slots."""
        if self._pending:
            for_top, for_samples = (Peaks.joined(parts) for parts in zip(*self._pending, strict=True))
            self._pending, self._num_pending = [], 0
            self.top.offer(for_top)
            self.samples.offer(for_samples)

    def merge(self, other: "Collector") -> None:
        """Takes in what another collector found in other text."""
        self.settle()
        other.settle()
        self.moments.merge(other.moments)
        self.ablation.merge(other.ablation)
        for mine, theirs in ((self.top, other.top), (self.samples, other.samples)):
            mine.offer(theirs.held(np.arange(self.num_latents, dtype=np.int32)))
        self.pool_latents |= other.pool_latents

    def keep_in_pool(self, addresses: np.ndarray) -> None:
        """Forgets windows that are no longer in the pool."""
        kept = addresses.tolist()
        self.pool_latents = {address: self.pool_latents[address] for address in kept if address in self.pool_latents}

    def contexts(self) -> np.ndarray:
        """Addresses, int64, of the tokens around which contexts are kept."""
        return np.concatenate([slots.addresses[slots.lengths > 0] for slots in (self.top, self.samples)])
