"""All targets by name, and how many of each thousand inputs each gets."""

from tests.fuzz.checkpoints import Checkpoints
from tests.fuzz.corpora import Corpora
from tests.fuzz.job_files import JobFiles
from tests.fuzz.registries import Registries
from tests.fuzz.row_tables import RowTables
from tests.fuzz.sae_folders import SaeFolders
from tests.fuzz.spools import Spools
from tests.fuzz.target import Target

TARGETS: dict[str, type[Target]] = {
    one.name: one for one in (JobFiles, Corpora, RowTables, Checkpoints, Spools, SaeFolders, Registries)
}
SHARES = {
    "job files": 250,
    "corpora": 150,
    "row tables": 200,
    "checkpoints": 100,
    "spools": 50,
    "SAE folders": 150,
    "registries": 100,
}
"""Target -> of each thousand inputs."""
