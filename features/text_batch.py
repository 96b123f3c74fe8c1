"""What one forward of the model shows to every collector: contexts, and which of their tokens are rows.

C contexts of T tokens, R rows. An address is one integer for a token of the stream: unit, context and position side by
side, so that addresses sort as the stream does and mean the same to every collector.
"""

from functools import cached_property

import numpy as np

CONTEXT_BITS, POSITION_BITS = 22, 18
"""Of an address: 4 million contexts in a unit, 262,144 tokens in a context, and 2^23 units."""
UNIT_BITS = 23
DOCUMENT_BITS = 32
PADDING = -1
"""The document of a token that is padding."""


def addresses(unit: int, contexts: np.ndarray, positions: np.ndarray | int) -> np.ndarray:
    """int64, by broadcasting."""
    assert unit < 1 << UNIT_BITS, f"unit {unit} is beyond what an address can hold"
    return (
        (np.int64(unit) << (CONTEXT_BITS + POSITION_BITS))
        | (np.asarray(contexts, np.int64) << POSITION_BITS)
        | np.asarray(positions, np.int64)
    )


def context_address(address: np.ndarray) -> np.ndarray:
    """That of the first token of its context."""
    return address >> POSITION_BITS << POSITION_BITS


def position_of(address: np.ndarray) -> np.ndarray:
    """In its context."""
    return address & ((1 << POSITION_BITS) - 1)


class TextBatch:
    """Some contexts of one unit, in order.

    Attributes:
        context_addresses: int64 [C].
        token_ids: int32 [C, T].
        row_places: int64 [R], rising: of each row, context * T + position.
    """

    def __init__(
        self, unit: int, first_context: int, token_ids: np.ndarray, documents: np.ndarray, kept: np.ndarray
    ) -> None:
        """[C, T] each: ids; the number of each token's document in the unit, PADDING for padding; which are rows."""
        num_contexts, self.context_tokens = token_ids.shape
        self.token_ids = token_ids.astype(np.int32)
        self.row_places = np.flatnonzero(kept)
        self.context_addresses = addresses(unit, np.arange(first_context, first_context + num_contexts), 0)
        self._documents = documents.reshape(-1).astype(np.int64)
        self._unit = unit

    @property
    def is_text(self) -> np.ndarray:
        """bool [C * T]: what is not padding."""
        return self._documents != PADDING

    @property
    def num_rows(self) -> int:
        return len(self.row_places)

    @property
    def num_places(self) -> int:
        return self.token_ids.size

    @cached_property
    def row_addresses(self) -> np.ndarray:
        """int64 [R]"""
        return self.addresses_of(self.row_places)

    def addresses_of(self, places: np.ndarray) -> np.ndarray:
        """int64, of places context * T + position."""
        return self.context_addresses[places // self.context_tokens] + places % self.context_tokens

    def documents_of(self, places: np.ndarray) -> np.ndarray:
        """int64: unit and number in the unit, side by side."""
        return (np.int64(self._unit) << DOCUMENT_BITS) | self._documents[places]

    @cached_property
    def stretches(self) -> tuple[np.ndarray, np.ndarray]:
        """int64 [C * T] twice: where the tokens of the same document and context begin and end, for each place."""
        ends = np.ones(len(self._documents), bool)
        ends[:-1] = self._documents[:-1] != self._documents[1:]
        ends[self.context_tokens - 1 :: self.context_tokens] = True
        stops = np.flatnonzero(ends) + 1
        starts = np.concatenate([[0], stops])[:-1]
        lengths = stops - starts
        return np.repeat(starts, lengths), np.repeat(stops, lengths)

    def windows_around(self, places: np.ndarray, window_tokens: int) -> tuple[np.ndarray, np.ndarray]:
        """First place and length of the windows around `places`: two thirds before, within document and context.

        Where the text ends sooner on one side there is more on the other.
        """
        begin, end = (edge[places] for edge in self.stretches)
        wanted = places - (2 * window_tokens) // 3
        start = np.maximum(begin, np.minimum(wanted, end - window_tokens))
        return start, np.minimum(end - start, window_tokens)
