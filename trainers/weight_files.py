"""Files with weights and what describes them, ours and other libraries': JSON and safetensors.

A pickle can run any code when it is read, so one is read only where the user has allowed it, and then by torch's
unpickler that knows nothing but tensors and plain values.
"""

import json
import pickle
import warnings
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from shared.errors import UserError, one_line


def read_json(path: Path) -> dict[str, Any]:
    """Raises UserError if there is no such file, or no JSON object in it."""
    try:
        value = json.loads(path.read_bytes())
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise UserError(f"{path} is damaged: it is not JSON") from None
    if not isinstance(value, dict):
        raise UserError(f"{path} is damaged: it is not a JSON object")
    return value


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Raises UserError if there is no such file, or it is cut off."""
    try:
        return load_file(path)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from None
    except SafetensorError as error:
        raise UserError(f"{path} is damaged: {one_line(error)}") from None


def read_safetensors_header(path: Path) -> dict[str, str]:
    """What a file of safetensors says beside its tensors. Raises UserError as `read_safetensors`."""
    try:
        with safe_open(path, "pt") as file:
            return file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise UserError(f"cannot read {path}: {error}") from None


def read_pickle(path: Path, allowed: bool) -> dict[str, Any]:
    """A state dict: tensors and plain values by name.

    Raises:
        UserError: pickles are not allowed, or this one holds more than that, or is damaged.
    """
    if not path.is_file():
        raise UserError(f"cannot read {path}: there is no such file")
    if not allowed:
        raise UserError(
            f"{path} is a pickle, which can run any code when it is read; make a .safetensors file of it, or say "
            "--allow-pickle, which reads nothing but tensors and plain values"
        )
    try:
        with warnings.catch_warnings(action="ignore"):
            state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        reason = str(error).strip().split("\n")[0]
        raise UserError(f"{path} is damaged, or holds more than tensors and plain values: {reason}") from None
    if not isinstance(state, dict):
        raise UserError(f"{path} holds a {type(state).__name__} and not a state dict")
    return state
