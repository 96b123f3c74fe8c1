"""Latents by the cosine of their direction with another one."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from shared.errors import UserError


class Similar(NamedTuple):
    latent: int
    cosine: float


def similar_to(direction: np.ndarray, directions: np.ndarray, count: int) -> list[Similar]:
    """The `count` of `directions` [L, D] nearest to `direction` [D], nearest first."""
    norms = np.linalg.norm(directions, axis=1) * np.linalg.norm(direction)
    cosines = directions @ direction / np.where(norms > 0, norms, 1)
    order = np.argsort(-cosines, kind="stable")[:count]
    return [Similar(int(one), float(cosines[one])) for one in order]


def read_direction(path: Path) -> np.ndarray:
    """float32 [D], of a .npy file, or of the only tensor in a .safetensors file.

    Raises:
        UserError: it is no such file, or holds no single vector.
    """
    try:
        if path.suffix == ".npy":
            found = np.load(path, allow_pickle=False)
        else:
            (found,) = load_file(path).values()
    except (OSError, ValueError, SafetensorError) as error:
        raise UserError(f"{path} is no .npy or .safetensors file of one vector: {error}") from None
    found = np.asarray(found, np.float32).squeeze()
    if found.ndim != 1 or not np.isfinite(found).all():
        raise UserError(f"{path} must hold one vector of finite numbers, got the shape {list(found.shape)}")
    if not found.any():
        raise UserError(f"{path} holds zeros alone, which have no direction")
    return found
