"""Whether a Parquet file's footer tells of its columns what can be: asked before pyarrow is, which ends the process.

`RowGroupMetaData.column` lets an exception of C++ pass where a chunk's facts do not fit its column (pyarrow 26). The
reader of rows looks at the same facts first and raises them, so it is sent to read and given nothing.
"""

import io

import pyarrow as pa
import pyarrow.parquet as pq

ENDLESS = 2**62


class _Asked(OSError):
    """Somebody wants to read rows: the footer is as it should be."""


class _Blind(io.RawIOBase):
    """A file of endless length and without contents."""

    def __init__(self) -> None:
        self._place = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._place = ENDLESS if whence == io.SEEK_END else offset
        return self._place

    def tell(self) -> int:
        return self._place

    def read(self, size: int = -1) -> bytes:
        raise _Asked


def check_footer(metadata: pq.FileMetaData) -> None:
    """Looks at all columns' chunks; reads nothing. Raises pa.ArrowException or OSError if one is damaged."""
    file = pq.ParquetFile(pa.PythonFile(_Blind(), mode="r"), metadata=metadata, pre_buffer=True)
    try:
        file.read_row_groups(range(metadata.num_row_groups), use_threads=False)
    except _Asked:
        return
