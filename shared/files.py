"""Files and folders that are either whole or not there: a temporary sibling, fsync, rename.

A reader never sees half of one, and after a crash there is at most a leftover named `.<name>.<random>.tmp`.
"""

import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def write_atomically(path: Path, data: bytes) -> None:
    """Writes `data` to `path`, durable when this returns; an older file of that name stays whole until then."""
    temporary = _sibling(path)
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync(path.parent)


def write_private(path: Path, text: str) -> None:
    """Only its owner can read it, at no moment anyone else; and it is there as a whole or not at all."""
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    draft.replace(path)


@contextmanager
def replace_folder(folder: Path) -> Iterator[Path]:
    """Gives an empty folder to write into; when the block ends without an error it becomes `folder`, durably.

    An older `folder` is moved aside just before and deleted after; between the two renames there is none.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = _sibling(folder)
    temporary.mkdir()
    try:
        yield temporary
        _sync_tree(temporary)
        _swap(temporary, folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


@contextmanager
def first_folder(folder: Path) -> Iterator[Path]:
    """Gives an empty folder to write into; it becomes `folder`, durably, unless there is one by then.

    For what all who write it write alike: whoever is first counts, and it never changes or goes while others read it.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = _sibling(folder)
    temporary.mkdir()
    try:
        yield temporary
        _sync_tree(temporary)
        try:
            temporary.rename(folder)
        except OSError:
            if not folder.exists():
                raise
        sync(folder.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def leftovers(path: Path) -> list[Path]:
    """What whoever writes `path`, or was killed while it did, has beside it; a temporary folder may have one too."""
    name, end = re.escape(path.name), r"\.[0-9a-f]{12}\.tmp"
    pattern = re.compile(rf"\.{name}{end}|\.\.{name}{end}{end}")
    return [one for one in path.parent.glob(".*.tmp") if pattern.fullmatch(one.name)]


def is_free(folder: Path) -> bool:
    """Whether there is nothing at `folder` yet, or an empty folder."""
    return not os.path.lexists(folder) or (folder.is_dir() and not any(folder.iterdir()))


def sync(path: Path) -> None:
    """Waits until the file or the folder's entries are on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _swap(temporary: Path, folder: Path) -> None:
    older = _sibling(folder)
    if folder.exists():
        folder.rename(older)
    try:
        temporary.rename(folder)
    except OSError:
        if older.exists():
            older.rename(folder)
        raise
    sync(folder.parent)
    shutil.rmtree(older, ignore_errors=True)


def _sync_tree(folder: Path) -> None:
    for path in folder.rglob("*"):
        sync(path)
    sync(folder)


def _sibling(path: Path) -> Path:
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.tmp")
