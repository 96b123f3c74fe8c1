"""JSON lines: one object a line, the text or the token ids under one key."""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np

from producers.document import BYTES_PER_TOKEN, Document, Layout
from producers.lines import read_lines
from producers.slices import even_slices
from producers.source_files import SourceFile
from shared.errors import UserError

BYTES_PER_TOKEN_ID = 6.0
"""`12345, `"""
SMALLEST_SLICE_BYTES = 2048


class JsonLinesReader:
    """Reads .jsonl files, and .json files that hold lines; a slice is a range of bytes."""

    def __init__(self, file: SourceFile, layout: Layout) -> None:
        self._file = file
        self._layout = layout

    def slices(self) -> np.ndarray:
        """The file's slices, in order. Raises UserError if its first line is not what it should be."""
        with self._file.open() as file:
            self._parsed(*read_lines(file, 0, 1))
        size = self._file.size
        tokens = size / (BYTES_PER_TOKEN_ID if self._layout.tokens_column else BYTES_PER_TOKEN)
        slices = even_slices(0, size, tokens, self._layout.slice_tokens, SMALLEST_SLICE_BYTES)
        slices["part"] = np.arange(len(slices))
        return slices

    def documents(self, part: int, start: int, stop: int) -> Iterator[Document]:
        """The documents of the lines that begin in the slice. Raises UserError at a damaged line."""
        with self._file.open() as file:
            offset, data = read_lines(file, start, stop)
        for line in data.split(b"\n"):
            document = self._parsed(offset, line)
            if document is not None:
                yield document
            offset += len(line) + 1

    def _parsed(self, offset: int, line: bytes) -> Document | None:
        """The document of one line; None for an empty line or a null."""
        if not line.strip(b" \t\r\n\xef\xbb\xbf"):
            return None
        try:
            record = json.loads(line.decode("utf-8-sig" if offset == 0 else "utf-8"))
        except (ValueError, RecursionError) as error:
            reason = "UTF-8 text" if isinstance(error, UnicodeDecodeError) else "JSON"
            raise UserError(f"{self._file.shown}: the line at byte {offset} is not {reason}") from None
        if not isinstance(record, dict):
            raise UserError(f"{self._file.shown}: the line at byte {offset} is not a JSON object")
        return self._document(record, offset)

    def _document(self, record: dict[str, Any], offset: int) -> Document | None:
        column = self._layout.column
        if column not in record:
            keys = ", ".join(record) or "none"
            where = f"{self._file.shown}, line at byte {offset}"
            raise UserError(f"{self._layout.key}: {where}: there is no key {column!r}; there are {keys}")
        value = record[column]
        if value is None:
            return None
        if self._layout.tokens_column is None and isinstance(value, str):
            return Document(value)
        if self._layout.tokens_column is not None and _are_ids(value):
            return Document(None, np.array(value, np.int64))
        wanted = "a list of token ids" if self._layout.tokens_column else "text"
        raise UserError(f"{self._layout.key}: {self._file.shown}, line at byte {offset}: {column!r} is not {wanted}")


def _are_ids(value: object) -> bool:
    return isinstance(value, list) and all(type(item) is int and 0 <= item < 2**31 for item in value)
