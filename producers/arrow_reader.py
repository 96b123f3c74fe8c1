"""Arrow tables: .arrow and .feather files, in the file and in the stream form, and data sets of the `datasets` library.

A local file is mapped into memory: opening it reads no text. A remote one has to be fetched whole, on opening and
again when its rows are wanted; Parquet is the better form there.
"""

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import pyarrow as pa

from producers.column import check_column, check_values, column_documents, num_tokens
from producers.document import Document, Layout
from producers.shelf import Shelf
from producers.slices import SLICE, even_slices
from producers.source_files import SourceFile
from shared.errors import UserError, one_line

FILE_MAGIC = b"ARROW1"


class TableSource(Protocol):
    """Where a table comes from."""

    shown: str
    is_mapped: bool

    def table(self) -> pa.Table: ...


class ArrowFile:
    """A table in a file, in either form of Arrow's."""

    def __init__(self, file: SourceFile, layout: Layout, shelf: Shelf) -> None:
        self._file = file
        self._layout = layout
        self._shelf = shelf
        self.shown = file.shown
        self.is_mapped = file.is_local

    def table(self) -> pa.Table:
        """The table with the one column. Raises UserError if it is not an Arrow file, or lacks the column."""
        return self._shelf.get((self._file.path, self.is_mapped), self._read)

    def _read(self) -> pa.Table:
        try:
            with pa.memory_map(self._file.path) if self.is_mapped else self._file.open() as source:
                table = _read_either_form(source)
        except (pa.ArrowException, OSError) as error:
            raise UserError(f"{self.shown} is not an Arrow file: {one_line(error)}") from None
        check_column(table.schema, self._layout, self.shown)
        return table.select([self._layout.column])


class ArrowReader:
    """Reads a table by ranges of its rows."""

    def __init__(self, source: TableSource, layout: Layout) -> None:
        self._source = source
        self._layout = layout

    def slices(self) -> np.ndarray:
        """The table's slices, in order, from the sizes of its record batches."""
        values = self._source.table().column(self._layout.column)
        check_values(values, self._layout, self._source.shown)
        start, found = 0, [np.zeros(0, SLICE)]
        for chunk in values.chunks:
            tokens = num_tokens(pa.chunked_array([chunk]), self._layout)
            slices = even_slices(0, len(chunk), tokens, self._layout.slice_tokens)
            slices["start"] += start
            slices["stop"] += start
            start += len(chunk)
            found.append(slices)
        joined = np.concatenate(found)
        if self._source.is_mapped:
            joined["part"] = np.arange(len(joined))
        return joined

    def documents(self, part: int, start: int, stop: int) -> Iterator[Document]:
        """The documents of rows [start, stop)."""
        values = self._source.table().column(self._layout.column)
        return column_documents(values.slice(start, stop - start), self._layout, self._source.shown)


def _read_either_form(source: pa.NativeFile) -> pa.Table:
    magic = source.read(len(FILE_MAGIC))
    source.seek(0)
    reader = pa.ipc.open_file(source) if magic == FILE_MAGIC else pa.ipc.open_stream(source)
    return reader.read_all()
