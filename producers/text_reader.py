"""Plain text: a file is a document; a big one is cut at line ends into documents of about 64 KiB."""

from collections.abc import Iterator

import numpy as np

from producers.document import BYTES_PER_TOKEN, Document, Layout
from producers.lines import read_lines
from producers.slices import SLICE
from producers.source_files import SourceFile
from shared.errors import UserError

DOCUMENT_BYTES = 2**16
HEAD_BYTES = 4096
"""What is looked at on opening."""


class TextReader:
    """Reads .txt files and Python sources; every slice is one document."""

    def __init__(self, file: SourceFile, layout: Layout) -> None:
        if layout.tokens_column:
            raise UserError(f"corpus.tokens_column: {file.shown} is plain text and has no columns")
        self._file = file
        self._layout = layout

    def slices(self) -> np.ndarray:
        """The file's slices, in order. Raises UserError if it does not begin like UTF-8 text."""
        self._check_head()
        size = self._file.size
        unit_bytes = int(4 * self._layout.slice_tokens * BYTES_PER_TOKEN)
        num_slices = -(-size // max(1, min(DOCUMENT_BYTES, unit_bytes)))
        edges = np.arange(num_slices + 1, dtype=np.int64) * size // max(num_slices, 1)
        slices = np.zeros(num_slices, SLICE)
        slices["part"], slices["start"], slices["stop"] = np.arange(num_slices), edges[:-1], edges[1:]
        slices["tokens"] = (slices["stop"] - slices["start"]) / BYTES_PER_TOKEN
        return slices

    def documents(self, part: int, start: int, stop: int) -> Iterator[Document]:
        """The slice's one document; none where no line begins in it."""
        with self._file.open() as file:
            offset, data = read_lines(file, start, stop)
        if data:
            yield Document(self._decode(data, offset))

    def _check_head(self) -> None:
        with self._file.open() as file:
            head = file.read(HEAD_BYTES)
        whole = len(head) < HEAD_BYTES
        self._decode(head if whole else head[: -4 + _start_of_last(head[-4:])], 0)

    def _decode(self, data: bytes, offset: int) -> str:
        try:
            return data.decode("utf-8-sig" if offset == 0 else "utf-8")
        except UnicodeDecodeError as error:
            raise UserError(f"{self._file.shown} is not UTF-8 text at byte {offset + error.start}") from None


def _start_of_last(tail: bytes) -> int:
    """Where the last character of `tail` begins, which may be cut short."""
    return next((i for i in range(len(tail) - 1, -1, -1) if tail[i] & 0xC0 != 0x80), 0)
