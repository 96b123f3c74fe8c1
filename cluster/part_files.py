"""What one role saved for a checkpoint, as a folder: its files, and `part.json` with their sizes and checksums.

Sizes are compared first, so that a file that was cut short is found without reading it. What is damaged is deleted, so
a file that the system does not let be read, as a network's disk may for a while, never counts as damaged.
"""

import errno
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from shared.digest import file_digest
from shared.errors import CheckpointError, Unreadable
from shared.registry_facts import Record

PART = "part.json"
NO_FILE = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG)
"""Of a file that is not there, or of a name that none can have."""


def write_part(folder: Path, counters: Record) -> None:
    """Adds `part.json` to a folder that holds all that its role saves; `counters` tell where the role stands."""
    files = {path.name: _sum(path) for path in sorted(folder.iterdir())}
    facts = {"counters": json.loads(counters.to_json()), "files": files}
    (folder / PART).write_text(json.dumps(facts), encoding="utf-8")


def read_part(folder: Path) -> dict[str, Any]:
    """What `write_part` wrote. Raises CheckpointError if it is damaged, Unreadable if the system does not give it."""
    try:
        with reading(folder / PART):
            facts = json.loads((folder / PART).read_bytes())
        return {"counters": facts["counters"], "files": facts["files"]}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{folder / PART} is damaged: {error!r}") from error


def check_part(folder: Path, facts: dict[str, Any]) -> None:
    """Compares each file with what `facts`, of `read_part`, say of it.

    Raises:
        CheckpointError: one is something else, or gone; names it.
        Unreadable: the system does not let one be read; names it.
    """
    try:
        sums = {str(name): (int(known["bytes"]), str(known["xxh3"])) for name, known in facts["files"].items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{folder / PART} is damaged: {error!r}") from error
    for name, (num_bytes, digest) in sums.items():
        path = folder / name
        with reading(path):
            size = path.stat().st_size
            if size != num_bytes:
                raise CheckpointError(f"{path} is damaged: it has {size:,} bytes and had {num_bytes:,}")
            if file_digest(path) != digest:
                raise CheckpointError(f"{path} is damaged: its checksum does not match")


def drop_part(folder: Path) -> None:
    """Takes a damaged part away, so that whoever comes by its barrier again saves it anew."""
    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Raises CheckpointError where the block finds no file at `path`, Unreadable where the system does not give it."""
    try:
        yield
    except OSError as error:
        if error.errno in NO_FILE:
            raise CheckpointError(f"{path} is damaged: {error.strerror}") from error
        raise Unreadable(f"{path} cannot be read: {error.strerror}") from error


def _sum(path: Path) -> dict[str, Any]:
    return {"bytes": path.stat().st_size, "xxh3": file_digest(path)}
