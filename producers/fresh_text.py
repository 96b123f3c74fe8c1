"""Text that the SAEs of a run have not read: what was held out first, then units that no trainer has had rows of."""

from collections.abc import Iterator, Sequence

from producers.corpus import Corpus
from producers.document import Document


class FreshText:
    """Units 0, 1, 2 … of it."""

    def __init__(self, corpus: Corpus, units: Sequence[int], with_held_out: bool = True) -> None:
        """`units` of the corpus are fresh, and what it holds out."""
        self._corpus, self._units = corpus, units
        self.num_held_out = corpus.num_held_out_units if with_held_out else 0

    @property
    def num_units(self) -> int:
        return self.num_held_out + len(self._units)

    def documents(self, unit: int) -> Iterator[Document]:
        """The documents of one of them, in order."""
        if unit < self.num_held_out:
            return self._corpus.held_out(unit)
        return self._corpus.documents(self._units[unit - self.num_held_out])
