"""What a killed actor had half written: taken away by its heir, and never from whoever has its role now.

A large SAE leaves as much on the disk as it takes itself, and nobody else would ever look for it.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

from cluster.patience import if_reachable
from shared.files import leftovers


def drop_leftovers(folder: Path, confirm: Callable[[], object]) -> None:
    """Deletes what those who wrote `folder` before this process left beside it.

    Args:
        confirm: asks the registry whether the caller has its role still, and raises StaleToken if not. What was found
            before its answer is no newer process's. While the registry does not answer, nothing is deleted.
    """
    found = leftovers(folder)
    if found and if_reachable(confirm):
        for one in found:
            shutil.rmtree(one, ignore_errors=True)
