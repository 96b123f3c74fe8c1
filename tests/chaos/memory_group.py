"""A control group of the kernel whose processes may take no more than some memory: it kills those that do."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

ROOTS = {Path("/sys/fs/cgroup/memory"): "memory.limit_in_bytes", Path("/sys/fs/cgroup"): "memory.max"}
"""Of the first version of control groups, and of the second."""
GONE_S = 10.0


class MemoryGroup:
    """What a process had before it came in does not count."""

    def __init__(self, folder: Path, limit: str, most_bytes: int) -> None:
        self._folder = folder
        folder.mkdir()
        try:
            (folder / limit).write_text(str(most_bytes))
        except OSError:
            folder.rmdir()
            raise

    def add(self, pid: int) -> None:
        """From now on all threads of `pid` are in it."""
        (self._folder / "cgroup.procs").write_text(str(pid))

    def close(self) -> None:
        """Lets go of whoever lives in it."""
        deadline = time.monotonic() + GONE_S
        while self._folder.exists() and time.monotonic() < deadline:
            for pid in (self._folder / "cgroup.procs").read_text().split():
                with suppress(OSError):
                    (self._folder.parent / "cgroup.procs").write_text(pid)
            with suppress(OSError):  # processes that end are still in it for a moment
                self._folder.rmdir()
            time.sleep(0.05)


@contextmanager
def memory_group(most_bytes: int) -> Iterator[MemoryGroup]:
    """Skips the test where none can be made."""
    root = next((one for one, limit in ROOTS.items() if (one / "cgroup.procs").exists()), None)
    if root is None:
        pytest.skip("there are no control groups of memory here")
    try:
        group = MemoryGroup(root / f"headrace-{os.getpid()}", ROOTS[root], most_bytes)
    except OSError as error:
        pytest.skip(f"no control group can be made here, which takes root: {error}")
    try:
        yield group
    finally:
        group.close()
