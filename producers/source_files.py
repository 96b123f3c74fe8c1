"""Finds the files that a corpus is made of: paths, globs, folders, `file://`, `s3://` and `gs://` URLs, `stdlib`.

The order of the files is part of the stream's order: always sorted by name, never as a file system lists them.
"""

import os
import re
import sysconfig
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import pyarrow as pa
from pyarrow import fs

from shared.errors import UserError

ENDINGS = (".parquet", ".jsonl", ".json", ".txt", ".arrow", ".feather")
NOT_DATA = frozenset({"dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json"})
"""What the `datasets` library writes beside its data."""
NOT_LIBRARY = frozenset(
    {
        "test",
        "tests",
        "idle_test",
        "site-packages",
        "dist-packages",
        "_bundled",
        "__phello__",
        "encodings",
        "pydoc_data",
    }
)
"""Folders of the standard library that are tests, other people's packages, or generated tables."""
GENERATED = ("_sysconfigdata", "config-")
"""Beginnings of names that hold the paths of the machine that built Python."""


class SourceFile(NamedTuple):
    """One file; `name` is relative to the folder that was searched, `shown` is what errors say."""

    filesystem: fs.FileSystem
    path: str
    name: str
    size: int
    shown: str

    @property
    def ending(self) -> str:
        return PurePosixPath(self.name).suffix.lower()

    @property
    def is_local(self) -> bool:
        return isinstance(self.filesystem, fs.LocalFileSystem)

    def open(self) -> pa.NativeFile:
        """The file, for reading anywhere in it. Raises UserError if it cannot be opened any more."""
        try:
            return self.filesystem.open_input_file(self.path)
        except OSError as error:
            raise UserError(f"cannot read {self.shown}: {_reason(error)}") from None


def find_files(source: str) -> list[SourceFile]:
    """The files that `source` names, sorted by name.

    Raises:
        UserError: no such file or folder, a glob without a match, an unknown ending, a store that does not answer.
    """
    if source == "stdlib":
        return _stdlib()
    try:
        found = _found(source)
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"corpus.source: cannot list {source}: {_reason(error)}") from None
    for file in found:
        if file.ending not in ENDINGS:
            raise UserError(f"corpus.source: {file.shown} ends in none of {', '.join(ENDINGS)}")
    return found


def _found(source: str) -> list[SourceFile]:
    filesystem, path = _locate(source)
    info = filesystem.get_file_info(path)
    if info.type == fs.FileType.File:
        return [SourceFile(filesystem, path, info.base_name, info.size, source)]
    if info.type == fs.FileType.Directory:
        return _in_folder(source)
    if not re.search(_magic(source), source):
        raise UserError(f"corpus.source: there is no file or folder {source}")
    return _matching(source)


def _in_folder(folder: str) -> list[SourceFile]:
    found = [file for file in _list(folder, recursive=True) if file.ending in ENDINGS and not _is_hidden(file.name)]
    if not found:
        raise UserError(f"corpus.source: the folder {folder} holds no file that ends in one of {', '.join(ENDINGS)}")
    return found


def _is_hidden(name: str) -> bool:
    path = PurePosixPath(name)
    return path.name in NOT_DATA or any(part.startswith(".") for part in path.parts)


def _matching(pattern: str) -> list[SourceFile]:
    """The files that a glob names; `*` stays within a folder, `**` does not."""
    magic = re.search(_magic(pattern), pattern)
    assert magic is not None
    pattern, options = _split(pattern)
    base, _, rest = pattern[: magic.start()].rpartition("/")
    rest += pattern[magic.start() :]
    regex = re.compile(_glob_regex(rest))
    base = base or ("/" if pattern.startswith("/") else ".")
    listed = _list(base + options, recursive="/" in rest or "**" in rest)
    files = [file for file in listed if regex.fullmatch(file.name) and not _is_hidden(file.name)]
    if not files:
        raise UserError(f"corpus.source: no file matches {pattern}")
    return files


def _list(folder: str, recursive: bool) -> list[SourceFile]:
    filesystem, path = _locate(folder)
    selector = fs.FileSelector(path, recursive=recursive, allow_not_found=True)
    infos = [info for info in filesystem.get_file_info(selector) if info.type == fs.FileType.File]
    names = [info.path[len(path) :].lstrip("/") for info in infos]
    shown = "" if folder == "." else _split(folder)[0].rstrip("/") + "/"
    files = [SourceFile(filesystem, i.path, name, i.size, shown + name) for i, name in zip(infos, names, strict=True)]
    return sorted(files, key=lambda file: file.name)


def _split(source: str) -> tuple[str, str]:
    """A place and, of a URL, its options with the `?` before them."""
    place, mark, options = source.partition("?") if "://" in source else (source, "", "")
    return place, mark + options


def _locate(source: str) -> tuple[fs.FileSystem, str]:
    if "://" in source:
        filesystem, path = fs.FileSystem.from_uri(source)
        return filesystem, path.rstrip("/")
    return fs.LocalFileSystem(), os.path.abspath(os.path.expanduser(source))


def _magic(source: str) -> str:
    """What makes a glob; in a URL `?` begins its options."""
    return r"[*\[]" if "://" in source else r"[*?\[]"


def _glob_regex(pattern: str) -> str:
    pieces = re.split(r"(\*\*/|\*\*|\*|\?|\[[^\]]+\])", pattern)
    words = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return "".join(words.get(piece) or _plain_regex(piece) for piece in pieces)


def _plain_regex(piece: str) -> str:
    """The regular expression of a set such as `[a-f]` or `[!0-9]`, or of text that stands for itself."""
    if re.fullmatch(r"\[[^\]]+\]", piece):
        return "[^" + piece[2:] if piece.startswith("[!") else piece
    return re.escape(piece)


def _stdlib() -> list[SourceFile]:
    """The running Python's own library: the .py files that people wrote, without tests."""
    root = sysconfig.get_paths()["stdlib"]
    found = []
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if _is_library(name)]  # site-packages can hold 100,000 files
        for path in (Path(folder, name) for name in names if name.endswith(".py") and _is_library(name)):
            name = path.relative_to(root).as_posix()
            found.append(SourceFile(fs.LocalFileSystem(), str(path), name, path.stat().st_size, str(path)))
    return sorted(found, key=lambda file: file.name)


def _is_library(name: str) -> bool:
    return name not in NOT_LIBRARY and not name.startswith(GENERATED)


def _reason(error: BaseException) -> str:
    """The first sentence of what a store's library says."""
    text = getattr(error, "strerror", None) or str(error)
    return re.split(r"\. Detail|\n", text)[0].rstrip(".")
