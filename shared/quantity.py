"""Bytes as people write them: `4GiB`, `512 MiB`, `2_000_000`."""

import math
import re

UNITS = {
    "": 1,
    "B": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KIB": 2**10,
    "MIB": 2**20,
    "GIB": 2**30,
    "TIB": 2**40,
}
LIMIT_BYTES = 2**63


def parse_bytes(text: int | float | str) -> int:
    """The number of bytes that `text` names; `KiB` is 1024, `KB` is 1000. Raises ValueError for anything else."""
    if isinstance(text, (int, float)) and not isinstance(text, bool) and abs(text) < LIMIT_BYTES:
        return int(text)
    match = re.fullmatch(r"\s*([0-9][0-9_]*(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*", str(text))
    count = float(match[1].replace("_", "")) * UNITS.get(match[2].upper(), math.inf) if match else math.inf
    if not count < LIMIT_BYTES:
        raise ValueError("must be a size such as 512MiB, 4GiB or a number of bytes")
    return int(count)


def format_bytes(count: float) -> str:
    """`1610612736` as `1.5 GiB`."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(count) < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
