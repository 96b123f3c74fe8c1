"""A disk of a few MiB of its own, which a test fills to the last byte and empties again."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

FILLER = ".filler"


class SmallDisk:
    """A file system at `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def fill(self) -> None:
        """Not one byte more can be written."""
        with open(self.folder / FILLER, "ab", buffering=0) as filler:
            for size in (2**20, 2**12, 1):
                try:
                    while filler.write(bytes(size)):
                        pass
                except OSError:
                    continue

    def empty(self) -> None:
        """There is room again."""
        (self.folder / FILLER).unlink(missing_ok=True)


Mount = Callable[[Path, int], SmallDisk]


@pytest.fixture
def mount() -> Iterator[Mount]:
    """`mount(folder, mib)` gives a disk, for as long as the test runs; skips where that cannot be had."""
    mounted: list[Path] = []

    def mount_at(folder: Path, mib: int) -> SmallDisk:
        if os.getuid() != 0:
            pytest.skip("only root can mount a small disk")
        folder.mkdir(parents=True)
        words = ["mount", "-t", "tmpfs", "-o", f"size={mib}m", "tmpfs", str(folder)]
        done = subprocess.run(words, capture_output=True, text=True)
        if done.returncode != 0:
            pytest.skip(f"a small disk cannot be mounted here: {done.stderr.strip()}")
        mounted.append(folder)
        return SmallDisk(folder)

    yield mount_at
    for folder in mounted:
        subprocess.run(["umount", "-l", str(folder)], check=True)
