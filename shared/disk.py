"""A disk that is full, told from other errors whoever raises them, and how much room there is."""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shared.errors import DiskFull

FULL = (errno.ENOSPC, errno.EDQUOT)
IN_WORDS = re.compile(rf"\(os error ({'|'.join(map(str, FULL))})\)")
"""As libraries in Rust say it, whose exceptions have no number: safetensors."""


def is_full(error: BaseException) -> bool:
    """Whether `error` was raised because a disk, or somebody's share of it, is full."""
    if isinstance(error, OSError) and error.errno in FULL:
        return True
    return IN_WORDS.search(str(error)) is not None


@contextmanager
def room_for(what: str, folder: Path) -> Iterator[None]:
    """Raises DiskFull, `no room for WHAT: the disk of FOLDER is full`, where the block finds the disk full."""
    try:
        yield
    except Exception as error:
        if not is_full(error):
            raise
        raise DiskFull(f"no room for {what}: the disk of {folder} is full") from error


def free_bytes(folder: Path) -> int:
    """Of the disk that `folder` is, or will be, on."""
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    found = os.statvfs(there)
    return found.f_bavail * found.f_frsize
