"""Parquet: a slice is a range of rows of one row group; only the one column is read."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from producers.column import check_column, column_documents
from producers.document import BYTES_PER_TOKEN, Document, Layout
from producers.parquet_footer import check_footer
from producers.shelf import Shelf
from producers.slices import SLICE, even_slices
from producers.source_files import SourceFile
from shared.errors import UserError, one_line


class ParquetReader:
    """Reads .parquet files; opening reads the footer alone."""

    def __init__(self, file: SourceFile, layout: Layout, shelf: Shelf) -> None:
        self._file = file
        self._layout = layout
        self._shelf = shelf

    def slices(self) -> np.ndarray:
        """The file's slices, in order. Raises UserError if it is not Parquet, is damaged, or lacks the column."""
        with self._file.open() as file:
            opened = self._opened(file)
            with _damage_named(f"{self._file.shown}: its footer is damaged"):
                check_footer(opened.metadata)
                check_column(opened.schema_arrow, self._layout, self._file.shown)
                groups = [self._of_group(index, opened.metadata) for index in range(opened.metadata.num_row_groups)]
        return np.concatenate([np.zeros(0, SLICE), *groups])

    def documents(self, part: int, start: int, stop: int) -> Iterator[Document]:
        """The documents of rows [start, stop) of row group `part`."""
        values = self._shelf.get((self._file.path, part), lambda: self._decode(part))
        return column_documents(values.slice(start, stop - start), self._layout, self._file.shown)

    def _decode(self, group: int) -> pa.ChunkedArray:
        with self._file.open() as file, _damage_named(f"{self._file.shown}: row group {group} is damaged"):
            return self._opened(file).read_row_group(group, columns=[self._layout.column]).column(0)

    def _opened(self, file: pa.NativeFile) -> pq.ParquetFile:
        with _damage_named(f"{self._file.shown} is not a Parquet file"):
            return pq.ParquetFile(file)

    def _of_group(self, index: int, metadata: pq.FileMetaData) -> np.ndarray:
        group = metadata.row_group(index)
        tokens = sum(self._tokens(group.column(leaf)) for leaf in range(group.num_columns))
        return even_slices(index, group.num_rows, tokens, self._layout.slice_tokens)

    def _tokens(self, chunk: pq.ColumnChunkMetaData) -> float:
        """An estimate of a leaf column's tokens; 0 for those of other columns."""
        if chunk.path_in_schema.split(".")[0] != self._layout.column:
            return 0.0
        return (
            float(chunk.num_values) if self._layout.tokens_column else chunk.total_uncompressed_size / BYTES_PER_TOKEN
        )


@contextmanager
def _damage_named(sentence: str) -> Iterator[None]:
    """What pyarrow finds wrong as a UserError; a name that is no text shows only when it is read."""
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise UserError(f"{sentence}: {one_line(error)}") from None
