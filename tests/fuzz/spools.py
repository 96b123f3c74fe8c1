"""Blocks that a lane put on disk: what was written, or SpoolDamaged."""

import random
from pathlib import Path

from shared.row_table import RowFormat
from shared.spool import Spool
from tests.fuzz.mutation import mutate_file
from tests.fuzz.row_tables import FORMATS, sound_table
from tests.fuzz.target import Target

FORMAT: RowFormat = FORMATS["float32"]


class Spools(Target):
    """`Spool.read` of a file that changed after it was written."""

    name = "spools"

    def lay(self, draw: random.Random, folder: Path) -> None:
        self._spool = Spool(folder / "spool")
        for number in (0, 4):
            self._spool.write(number, sound_table(FORMAT))
        if draw.random() < 0.9:
            mutate_file(draw, folder / "spool" / "4.arrow")
        else:
            (folder / "spool" / "4.arrow").write_bytes((folder / "spool" / "0.arrow").read_bytes()[:-1])

    def feed(self, draw: random.Random, folder: Path) -> None:
        number = draw.choice((0, 4, 4, 4, 9))
        assert self._spool.read(number).equals(sound_table(FORMAT)), "other rows than were written"
