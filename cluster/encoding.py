"""The codes of a run's SAEs, as the features' collectors take them."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from cluster.evaluation import Subject
from features.codes import Codes

ACTS_AT_ONCE = 2**24
"""Activations with their zeros that are in memory at one time, 64 MiB."""


@torch.inference_mode()
def encode_rows(subject: Subject, rows: Mapping[str, Tensor]) -> Codes:
    """The codes of rows (hookpoint -> [rows, width], float32, on the SAE's device)."""
    x = torch.cat([rows[name] for name in subject.inputs], dim=1)
    step = max(1, ACTS_AT_ONCE // subject.sae.num_latents)
    parts = [_codes(subject, x[start : start + step], start) for start in range(0, len(x), step)]
    return Codes(*(np.concatenate(columns) for columns in zip(*parts, strict=True))) if parts else Codes.none()


def _codes(subject: Subject, x: Tensor, first_row: int) -> Codes:
    found = subject.sae.codes(x)
    row_of = np.repeat(np.arange(first_row, first_row + len(x), dtype=np.int32), found.starts.diff().cpu().numpy())
    values, latents = found.values.float().cpu().numpy(), found.latents.cpu().numpy()
    fires = values > 0
    return Codes(row_of[fires], latents[fires], values[fires])
