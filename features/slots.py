"""The peaks that are kept of each latent: a fixed number of slots, into which better ones come in the place of worse.

Which are kept is a function of the peaks alone, whatever the order in which they come: so offering one collector's
peaks to another's slots gives what one collector of both would hold. All latents are done at once.
"""

from abc import ABC, abstractmethod

import numpy as np

from features.context import NUM_BINS
from features.histogram import half_octave
from features.peaks import Peaks, changes

NEVER = np.iinfo(np.int32).min


class Slots(ABC):
    """L latents of S slots; `may_enter` tells cheaply what need not be offered."""

    def __init__(self, num_latents: int, num_slots: int, window_tokens: int) -> None:
        shape = (num_latents, num_slots)
        self.values = np.zeros(shape, np.float32)
        self.addresses = np.zeros(shape, np.int64)
        self.documents = np.zeros(shape, np.int64)
        self.draws = np.zeros(shape, np.uint64)
        self.starts = np.zeros(shape, np.int32)
        self.lengths = np.zeros(shape, np.int32)
        """0 where a slot is empty."""
        self.acts = np.zeros((*shape, window_tokens), np.float32)

    def columns(self) -> dict[str, np.ndarray]:
        """Everything that is held, to be saved and put back."""
        return dict(vars(self))

    @abstractmethod
    def may_enter(self, latents: np.ndarray, values: np.ndarray, draws: np.ndarray) -> np.ndarray:
        """bool: false only where `offer` would not keep it."""

    @abstractmethod
    def ranks(self, peaks: Peaks) -> np.ndarray:
        """int: the rank of each of some peaks in its group; -1 for what is not to be kept."""

    @abstractmethod
    def prepare(self, peaks: Peaks) -> None:
        """These are about to be ranked together with what is held."""

    @abstractmethod
    def learn(self, latents: np.ndarray, held: Peaks) -> None:
        """These latents' slots have changed, and now hold `held`."""

    def offer(self, peaks: Peaks) -> None:
        """Keeps the best of `peaks` and of what is held."""
        if len(peaks.latents) == 0:
            return
        touched = np.unique(peaks.latents)
        held, slots = self._held(touched)
        self.prepare(peaks)
        both = Peaks.joined([held.without_acts(), peaks.without_acts()])
        stays = self.ranks(both) >= 0
        evicted = ~stays[: len(slots)]
        self.lengths[held.latents[evicted], slots[evicted]] = 0
        entered = peaks.at(np.flatnonzero(stays[len(slots) :]))
        self._put(touched, entered.at(np.argsort(entered.latents, kind="stable")))
        self.learn(touched, self._held(touched)[0])

    def held(self, latents: np.ndarray) -> Peaks:
        """What some latents hold, in their order."""
        held, slots = self._held(latents)
        return held._replace(acts=self.acts[held.latents, slots])

    def _held(self, latents: np.ndarray) -> tuple[Peaks, np.ndarray]:
        """What some latents hold, without the windows, and in which slots."""
        row, slot = np.nonzero(self.lengths[latents])
        latent = latents[row]
        fields = (self.values, self.addresses, self.documents, self.draws, self.starts, self.lengths)
        columns = [latent.astype(np.int32), *(field[latent, slot] for field in fields)]
        columns.append(np.zeros((len(latent), 0), np.float32))
        return Peaks(*columns), slot

    def _put(self, touched: np.ndarray, peaks: Peaks) -> None:
        """Peaks, sorted by latent, into their latents' free slots, of which there are enough."""
        free_row, free_slot = np.nonzero(self.lengths[touched] == 0)
        row = np.searchsorted(touched, peaks.latents)
        within = np.arange(len(row)) - np.searchsorted(row, row)
        slot = free_slot[np.searchsorted(free_row, row) + within]
        place = (peaks.latents, slot)
        self.values[place], self.addresses[place], self.documents[place] = (
            peaks.values,
            peaks.addresses,
            peaks.documents,
        )
        self.draws[place], self.starts[place], self.lengths[place] = peaks.draws, peaks.starts, peaks.lengths
        self.acts[place] = peaks.acts


class TopDocuments(Slots):
    """The greatest activations, one of each document; of equal ones the earliest in the stream."""

    def __init__(self, num_latents: int, num_slots: int, window_tokens: int) -> None:
        super().__init__(num_latents, num_slots, window_tokens)
        self.least = np.zeros(num_latents, np.float32)
        """[L]: what is smaller does not enter."""

    def may_enter(self, latents: np.ndarray, values: np.ndarray, draws: np.ndarray) -> np.ndarray:
        return values >= self.least[latents]

    def ranks(self, peaks: Peaks) -> np.ndarray:
        # bits of floats above 0 sort as the floats do
        descending = np.int64(np.iinfo(np.int32).max) - np.ascontiguousarray(peaks.values).view(np.int32)
        order = np.lexsort((peaks.addresses, (peaks.latents.astype(np.int64) << 32) | descending))
        latents, documents = peaks.latents[order], peaks.documents[order]
        by_document = np.lexsort((documents, latents))  # which is stable: the greatest of each document stays first
        is_first = changes(latents[by_document]) | changes(documents[by_document])
        order = order[np.sort(by_document[is_first])]
        return _ranks(len(peaks.latents), order, changes(peaks.latents[order]), self.values.shape[1])

    def prepare(self, peaks: Peaks) -> None:
        pass

    def learn(self, latents: np.ndarray, held: Peaks) -> None:
        is_full = self.lengths[latents].all(1)
        self.least[latents] = np.where(is_full, self.values[latents].min(1), 0)


class RangeSamples(Slots):
    """From each range of activation as many as there is room for, by draw; ranges follow the greatest that was seen.

    When that grows by a half-octave each range becomes the one below, and the two lowest one: the least draws of two
    ranges are among the least of each, so that nothing is lost by having ranked them apart.
    """

    def __init__(self, num_latents: int, per_range: int, window_tokens: int) -> None:
        super().__init__(num_latents, NUM_BINS * per_range, window_tokens)
        self.highest = np.full(num_latents, NEVER, np.int32)
        """[L]: the half-octave of the greatest activation."""
        self.greatest_draw = np.full((num_latents, NUM_BINS), np.iinfo(np.uint64).max)
        """[L, ranges]: what is drawn later does not enter."""

    def ranges(self, latents: np.ndarray, values: np.ndarray) -> np.ndarray:
        """The range that each activation is in, 0 to 7; above 7 what is beyond the greatest so far."""
        below = half_octave(values).astype(np.int64) - self.highest[latents]
        return np.maximum(below + NUM_BINS - 1, 0)

    def ranges_of(self, peaks: Peaks) -> np.ndarray:
        """As `ranges`, of what is held or has been offered."""
        return self.ranges(peaks.latents, peaks.values)

    def may_enter(self, latents: np.ndarray, values: np.ndarray, draws: np.ndarray) -> np.ndarray:
        ranges = self.ranges(latents, values)
        is_beyond = ranges >= NUM_BINS
        return is_beyond | (draws <= self.greatest_draw[latents, np.where(is_beyond, 0, ranges)])

    def ranks(self, peaks: Peaks) -> np.ndarray:
        ranges = self.ranges(peaks.latents, peaks.values)
        groups = peaks.latents.astype(np.int64) * NUM_BINS + ranges
        order = np.lexsort((peaks.draws, groups))
        return _ranks(len(peaks.latents), order, changes(groups[order]), self.values.shape[1] // NUM_BINS)

    def learn(self, latents: np.ndarray, held: Peaks) -> None:
        ranges = self.ranges(held.latents, held.values)
        counts = np.zeros_like(self.greatest_draw, shape=(len(latents), NUM_BINS), dtype=np.int64)
        greatest = np.zeros((len(latents), NUM_BINS), np.uint64)
        place = (np.searchsorted(latents, held.latents), ranges)
        np.add.at(counts, place, 1)
        np.maximum.at(greatest, place, held.draws)
        is_full = counts == self.values.shape[1] // NUM_BINS
        self.greatest_draw[latents] = np.where(is_full, greatest, np.iinfo(np.uint64).max)

    def prepare(self, peaks: Peaks) -> None:
        np.maximum.at(self.highest, peaks.latents, half_octave(peaks.values).astype(np.int32))


def _ranks(count: int, order: np.ndarray, begins: np.ndarray, room: int) -> np.ndarray:
    """int [count]: ranks of the items `order`, whose groups begin where `begins`; -1 from `room` on, and of others."""
    place = np.arange(len(order))
    within = place - np.maximum.accumulate(np.where(begins, place, 0))
    ranks = np.full(count, -1)
    ranks[order] = np.where(within < room, within, -1)
    return ranks
