"""A tokenizer's tokens as they read by themselves, all at once, so that a page is spelt in a millisecond."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

SPACE = "▁"
"""What SentencePiece writes for a space, which a decoder drops from a text's first token."""


@dataclass(frozen=True)
class Vocabulary:
    """The text of every token id; a piece of a letter reads as U+FFFD."""

    texts: pa.StringArray

    @classmethod
    def of(cls, tokenizer: Any) -> "Vocabulary":
        """Of a tokenizer of `transformers`."""
        ids = range(len(tokenizer))
        pieces = tokenizer.convert_ids_to_tokens(list(ids))
        alone = _decoded(tokenizer, ids)
        return cls(pa.array([_spelt(piece, text) for piece, text in zip(pieces, alone, strict=True)], pa.string()))

    @classmethod
    def nameless(cls, size: int) -> "Vocabulary":
        """Where there is no tokenizer: `#17`."""
        return cls(pa.array([f"#{number}" for number in range(size)], pa.string()))

    def spell(self, ids: Iterable[int]) -> list[str]:
        """Each token's text; `#17` of an id that the tokenizer does not have."""
        known = self._list
        return [known[one] if 0 <= one < len(known) else f"#{one}" for one in ids]

    @property
    def _list(self) -> list[str]:
        found: list[str] | None = self.__dict__.get("list")
        if found is None:
            found = self.__dict__["list"] = self.texts.to_pylist()
        return found


def _decoded(tokenizer: Any, ids: Iterable[int]) -> list[str]:
    """Each by itself; a fast tokenizer does fifty thousand in a tenth of a second."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    single = [[one] for one in ids]
    if backend is not None:
        return list(backend.decode_batch(single, skip_special_tokens=False))
    return [tokenizer.decode(one, clean_up_tokenization_spaces=False) for one in single]


def _spelt(piece: str | None, text: str) -> str:
    return f" {text}" if piece and piece.startswith(SPACE) and not text.startswith(" ") else text
