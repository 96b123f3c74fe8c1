"""A tokenizer's tokens as they read by themselves, all at once, so that a page is spelt in a millisecond.

Bytes that are no letter, since they are a piece of one or control a terminal, are spelt `\\xe2`, as Python does.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

SPACE = "▁"
"""What SentencePiece writes for a space, which a decoder drops from a text's first token."""
UNREADABLE = "\N{REPLACEMENT CHARACTER}"
"""What a decoder writes for bytes that are no letter."""
BYTES = re.compile(r"((?:\\x[0-9a-f]{2})+)")
"""Bytes as they are spelt; tokens.js has it too."""
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""All but the ends of lines and the tabs."""
BYTE_PIECE = re.compile(r"<0x([0-9A-F]{2})>")
"""How SentencePiece calls the token of one byte."""
SHOWN_BYTES = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
BYTE_LETTERS = {chr(one): one for one in SHOWN_BYTES}
BYTE_LETTERS |= {chr(0x100 + at): one for at, one in enumerate(sorted({*range(0x100)} - {*SHOWN_BYTES}))}
"""How a byte-level BPE, such as GPT-2's, writes each byte in the name of a token."""


@dataclass(frozen=True)
class Vocabulary:
    """The text of every token id."""

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


def joined(spelt: Iterable[str]) -> str:
    """Tokens as `Vocabulary.spell` gives them, as one text: bytes that are a letter together read as that letter."""
    raw = [BYTES.sub(lambda found: _raw(found[0]).decode("ascii", "surrogateescape"), one) for one in spelt]
    return "".join(raw).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _raw(spelt: str) -> bytes:
    return bytes.fromhex(spelt.replace("\\x", ""))


def _spelt(piece: str | None, text: str) -> str:
    if piece and piece.startswith(SPACE) and not text.startswith(" "):
        text = f" {text}"
    if piece and UNREADABLE in text and (raw := _bytes_of(piece)) is not None:
        text = raw.decode("utf-8", "backslashreplace")
    return CONTROL.sub(lambda found: "".join(f"\\x{one:02x}" for one in found[0].encode()), text)


def _bytes_of(piece: str) -> bytes | None:
    """What a token stands for; None where its name does not tell."""
    if found := BYTE_PIECE.fullmatch(piece):
        return bytes.fromhex(found[1])
    letters = [BYTE_LETTERS.get(one) for one in piece]
    return bytes(one for one in letters if one is not None) if None not in letters else None
