"""A collection on disk, so that one that was interrupted goes on: arrays as .npy files, nothing pickled."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from features.collection import Collection
from features.collector import Collector
from shared.errors import CheckpointError
from shared.files import replace_folder

FACTS = "collection.json"


def save_collection(collection: Collection, folder: Path, facts: dict[str, Any]) -> None:
    """Writes everything that has been collected as `folder`, whole or not at all; `facts` are given back by loading."""
    collection.settle()
    numbers: dict[str, float] = {"rows": collection.rows, "contexts": collection.contexts}
    with replace_folder(folder) as temporary:
        for name, array in _arrays(collection).items():
            np.save(temporary / f"{name}.npy", array, allow_pickle=False)
        for place, collector in enumerate(collection.collectors.values()):
            numbers |= {f"{place}.{key}": value for key, value in _numbers(collector).items()}
        (temporary / FACTS).write_text(json.dumps({"facts": facts, "numbers": numbers}))


def saved_facts(folder: Path) -> dict[str, Any] | None:
    """The facts that a collection was saved with; None where none was."""
    try:
        return json.loads((folder / FACTS).read_bytes())["facts"]
    except (OSError, ValueError, KeyError):
        return None


def load_collection(collection: Collection, folder: Path) -> None:
    """Puts a new collection into the state that `folder` holds, of the same SAEs and settings.

    Raises:
        CheckpointError: a file is missing or damaged.
    """
    try:
        numbers = json.loads((folder / FACTS).read_bytes())["numbers"]
        found = {path.stem: np.load(path, allow_pickle=False) for path in folder.glob("*.npy")}
        collection.rows, collection.contexts = numbers["rows"], numbers["contexts"]
        for name, holder in _holders(collection).items():
            for key, value in vars(holder).items():
                if isinstance(value, np.ndarray):
                    setattr(holder, key, found[f"{name}.{key}"])
        for place, collector in enumerate(collection.collectors.values()):
            _restore(collector, found, numbers, str(place))
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"what was collected in {folder} is damaged: {error!r}") from error


def _holders(collection: Collection) -> dict[str, Any]:
    """Everything that has arrays, by a name for its files."""
    holders: dict[str, Any] = {"pool": collection.pool, "texts": collection.texts}
    for place, collector in enumerate(collection.collectors.values()):
        for part in ("moments", "ablation", "top", "samples"):
            holders[f"{place}.{part}"] = getattr(collector, part)
    return holders


def _arrays(collection: Collection) -> dict[str, np.ndarray]:
    found = {
        f"{name}.{key}": value
        for name, holder in _holders(collection).items()
        for key, value in vars(holder).items()
        if isinstance(value, np.ndarray)
    }
    for place, collector in enumerate(collection.collectors.values()):
        windows = collector.pool_latents
        found[f"{place}.windows"] = np.array(list(windows), np.int64)
        found[f"{place}.window_sizes"] = np.array([len(latents) for latents in windows.values()], np.int64)
        found[f"{place}.window_latents"] = np.concatenate([np.zeros(0, np.int32), *windows.values()])
    return found


def _numbers(collector: Collector) -> dict[str, float]:
    moments, ablation = collector.moments, collector.ablation
    return {"rows": moments.rows, "ablation_rows": ablation.rows, "y_square_sum": ablation.y_square_sum}


def _restore(collector: Collector, found: dict[str, np.ndarray], numbers: dict[str, Any], place: str) -> None:
    collector.moments.rows = numbers[f"{place}.rows"]
    collector.ablation.rows = numbers[f"{place}.ablation_rows"]
    collector.ablation.y_square_sum = numbers[f"{place}.y_square_sum"]
    parts = np.split(found[f"{place}.window_latents"], np.cumsum(found[f"{place}.window_sizes"])[:-1])
    collector.pool_latents = dict(zip(found[f"{place}.windows"].tolist(), parts, strict=False))
