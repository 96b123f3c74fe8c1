"""Byte ranges of files of lines. A line belongs to the range that it begins in, so that ranges can be cut anywhere."""

import pyarrow as pa

STEP_BYTES = 2**16


def read_lines(file: pa.NativeFile, start: int, stop: int) -> tuple[int, bytes]:
    """The lines that begin in bytes [start, stop), whole, as one piece of bytes; and the offset of the first."""
    begin = max(start - 1, 0)
    file.seek(begin)
    data = file.read(stop - begin)
    if start > 0:
        cut = data.find(b"\n") + 1
        begin, data = (begin + cut, data[cut:]) if cut else (stop, b"")
    if data and not data.endswith(b"\n"):
        data += _rest_of_line(file)
    return begin, data


def _rest_of_line(file: pa.NativeFile) -> bytes:
    pieces = []
    while piece := file.read(STEP_BYTES):
        end = piece.find(b"\n")
        if end >= 0:
            pieces.append(piece[: end + 1])
            break
        pieces.append(piece)
    return b"".join(pieces)
