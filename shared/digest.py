"""Two digests of a stream of rows: of their addresses in order, and of their bits.

Each is a chain over blocks, so that what a trainer has read is one short string, and going on from the string equals
never having stopped. A digest depends on values only, never on how an array lies in memory. xxh3_128 runs at memory
speed; it proves equality against faults, not against somebody who forges.
"""

import json
from pathlib import Path

import numpy as np
import xxhash

from shared.row_table import Rows

START = "0" * 32


class StreamDigest:
    """digest(s + 1) = hash(digest(s), block s), for addresses and for bits.

    Its whole state are the two hex strings.
    """

    def __init__(self, addresses: str = START, bits: str = START) -> None:
        self.addresses = addresses
        self.bits = bits

    def update(self, rows: Rows) -> None:
        """Takes in one block."""
        self.addresses = _chained(self.addresses, {"": rows.addresses.astype(np.int32, copy=False)})
        self.bits = _chained(self.bits, rows.activations)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, StreamDigest) and (self.addresses, self.bits) == (other.addresses, other.bits)

    def __hash__(self) -> int:
        return hash((self.addresses, self.bits))

    def __repr__(self) -> str:
        return f"StreamDigest(addresses={self.addresses!r}, bits={self.bits!r})"


def _chained(previous: str, arrays: dict[str, np.ndarray]) -> str:
    """The digest of `previous` and of `arrays`: name, dtype, shape and values in C order, by sorted name."""
    hasher = xxhash.xxh3_128(bytes.fromhex(previous))
    for name in sorted(arrays):
        values = np.ascontiguousarray(arrays[name])
        hasher.update(json.dumps([name, values.dtype.str, values.shape]).encode())
        hasher.update(values.reshape(-1).view(np.uint8).data)
    return hasher.hexdigest()


def file_digest(path: Path) -> str:
    """xxh3_128 of a file's bytes, in hex."""
    hasher = xxhash.xxh3_128()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            hasher.update(piece)
    return hasher.hexdigest()
