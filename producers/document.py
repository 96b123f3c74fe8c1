"""What the corpus gives and what its readers are told to look for."""

from typing import NamedTuple

import numpy as np

BYTES_PER_TOKEN = 3.5
"""Of English text and code with vocabularies of 30k to 130k; it only decides how big units are."""


class Document(NamedTuple):
    """One text: a row, a line of JSON, a file, or a piece of a big file; or its token ids where those are stored."""

    text: str | None
    token_ids: np.ndarray | None = None


class Layout(NamedTuple):
    """Where documents stand in a file, and how finely to slice it."""

    text_column: str
    tokens_column: str | None
    slice_tokens: float
    """About how many tokens a slice should have; a unit is made of several."""

    @property
    def column(self) -> str:
        return self.tokens_column or self.text_column

    @property
    def key(self) -> str:
        """The job file's key that names the column."""
        return "corpus.tokens_column" if self.tokens_column else "corpus.text_column"
