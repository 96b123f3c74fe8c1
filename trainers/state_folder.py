"""A folder of one JSON and one safetensors file that knows whether it is whole.

The JSON holds the checksum of the tensors and of its own facts, so that a flipped bit, a short file or a file of
another folder is found before anything is used. Nothing is ever unpickled.
"""

import json
from pathlib import Path
from typing import Any

import xxhash
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from shared.digest import file_digest
from shared.errors import CheckpointError, one_line

FACTS = "state.json"
TENSORS = "state.safetensors"


def write_state_folder(folder: Path, facts: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    """Writes both files into `folder`, which must exist; `shared.files.replace_folder` makes that atomic."""
    save_file({name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}, folder / TENSORS)
    whole = {"facts": facts, "facts_xxh3": _facts_checksum(facts), "tensors_xxh3": file_digest(folder / TENSORS)}
    (folder / FACTS).write_text(json.dumps(whole, indent=1), encoding="utf-8")


def read_state_folder(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Facts and tensors of `folder`.

    Raises:
        CheckpointError: a file is missing or damaged; names it.
    """
    whole = _read_facts(folder / FACTS)
    path = folder / TENSORS
    try:
        if file_digest(path) != whole["tensors_xxh3"]:
            raise CheckpointError(f"{path} is damaged: its checksum is not the one in {FACTS}")
        return whole["facts"], load_file(path)
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from error
    except SafetensorError as error:
        raise CheckpointError(f"{path} is not a safetensors file: {one_line(error)}") from error


def _read_facts(path: Path) -> dict[str, Any]:
    try:
        whole = json.loads(path.read_bytes())
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is damaged: it is not JSON") from error
    if not isinstance(whole, dict) or not {"facts", "facts_xxh3", "tensors_xxh3"} <= whole.keys():
        raise CheckpointError(f"{path} is damaged: it holds no facts with checksums")
    if _facts_checksum(whole["facts"]) != whole["facts_xxh3"]:
        raise CheckpointError(f"{path} is damaged: its checksum is not that of its facts")
    return whole


def _facts_checksum(facts: dict[str, Any]) -> str:
    return xxhash.xxh3_128(json.dumps(facts, sort_keys=True).encode()).hexdigest()
