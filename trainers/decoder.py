"""What of an SAE in SAELens' format its comparison with others needs: directions and how often latents fired."""

import math
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from shared.errors import UserError
from trainers.saelens_format import NEVER, SPARSITY, WEIGHTS


def read_decoder(folder: Path) -> Tensor:
    """W_dec [num_latents, d_out], float32; nothing else of the file is read.

    Raises:
        UserError: it is not there, is damaged, or has values that are not finite.
    """
    directions = _tensor(folder / WEIGHTS, "W_dec").float()
    if not directions.isfinite().all():
        raise UserError(f"{folder / WEIGHTS} has values in W_dec that are not finite")
    return directions


def read_frequencies(folder: Path) -> Tensor | None:
    """Share of tokens on which each latent fired, float32 [num_latents]; None where that was not kept.

    Raises:
        UserError: the file is damaged.
    """
    if not (folder / SPARSITY).exists():
        return None
    logs = _tensor(folder / SPARSITY, "sparsity").double()
    return torch.where(logs <= math.log10(NEVER) + 1e-3, 0.0, 10**logs).float()


def _tensor(path: Path, name: str) -> Tensor:
    try:
        with safe_open(path, "pt") as file:
            return file.get_tensor(name)
    except (OSError, SafetensorError) as error:
        raise UserError(f"cannot read {name} in {path}: {error}") from None
