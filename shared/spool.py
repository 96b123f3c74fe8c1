"""Blocks of one lane that its log has no room for in memory: Arrow IPC files, of which each is known by its checksum.

They live no longer than the lane: one that is restored gives the same blocks again. So nothing here is made durable.
"""

import shutil
from pathlib import Path

import pyarrow as pa

from shared.digest import file_digest
from shared.errors import SpoolDamaged
from shared.row_table import read_ipc, write_ipc


class Spool:
    """Files of blocks in a folder of its own. Thread-safe as far as calls for different blocks go."""

    def __init__(self, folder: Path) -> None:
        """Makes the folder, and empties it of what a lane before this one left there."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._digests: dict[int, str] = {}

    def write(self, number: int, table: pa.Table) -> None:
        """Puts block `number` on disk. Raises OSError when the disk is full; nothing is left then.

        A folder that somebody has taken away is made again: what was in it is damaged, and no reason to spool no more.
        """
        path = self._path(number)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_ipc(table, path)
            self._digests[number] = file_digest(path)
        except (OSError, pa.ArrowException):
            path.unlink(missing_ok=True)
            raise

    def read(self, number: int) -> pa.Table:
        """Block `number`, memory-mapped. Raises SpoolDamaged, naming the file, if it is not what was written."""
        path = self._path(number)
        try:
            if file_digest(path) != self._digests[number]:
                raise SpoolDamaged(f"{path} is damaged: its checksum is not that of what was written")
            return read_ipc(path)
        except (OSError, KeyError) as error:
            raise SpoolDamaged(f"{path} is gone") from error

    def drop(self, number: int) -> None:
        """Takes block `number` off the disk, if it is there."""
        if self._digests.pop(number, None) is not None:
            self._path(number).unlink(missing_ok=True)

    def _path(self, number: int) -> Path:
        return self.folder / f"{number}.arrow"
