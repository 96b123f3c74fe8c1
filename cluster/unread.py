"""Which units of a run's corpus none of its SAEs has read a row of."""

import json
from pathlib import Path

from producers.corpus import Corpus
from shared.errors import CheckpointError


def unread_units(run_folder: Path, corpus: Corpus, checkpoint: int | None) -> range | list[int]:
    """Units of the first epoch that no lane had begun on when the SAEs were as they are; later epochs repeat them.

    Args:
        checkpoint: the block of the checkpoint that the SAEs are of; None for finished ones.
    """
    begun = _finished_lanes(run_folder) if checkpoint is None else _lanes_at(run_folder, checkpoint)
    if not begun:
        return []
    lanes = len(begun)
    return [unit for unit in range(corpus.num_first_units) if unit // lanes >= begun[unit % lanes]]


def _finished_lanes(run_folder: Path) -> list[int]:
    """Of each lane, the first of its own units that was never leased; empty where the run does not say."""
    try:
        lanes = json.loads((run_folder / "ledger.json").read_bytes())["lanes"]
        return [lane["next_unit"] for lane in lanes]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _lanes_at(run_folder: Path, block: int) -> list[int]:
    """Of each lane, the first of its own units that had no row in its reservoir."""
    path = run_folder / "checkpoints" / str(block) / "manifest.json"
    try:
        lanes = json.loads(path.read_bytes()).get("lanes", {})
        return [lane["counters"]["head"] + 1 for lane in lanes.values()]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} is damaged: {error!r}") from error
