"""A temporary folder in memory, where the machine has such a place: files are fast there, and no disk in their way."""

import os
import tempfile
from pathlib import Path

MEMORY = Path("/dev/shm")


def memory_folder(prefix: str) -> "tempfile.TemporaryDirectory[str]":
    """As a context: the folder, which goes at its end."""
    return tempfile.TemporaryDirectory(prefix=f"headrace-{prefix}-", dir=MEMORY if os.access(MEMORY, os.W_OK) else None)
