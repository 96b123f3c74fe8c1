"""What a run's SAEs make of a forward's rows, as the features' collectors take it."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from cluster.evaluation import Subject
from features.ablation_sums import RowErrors
from features.codes import Codes
from features.collection import Encoded
from shared.row_table import Rows
from trainers.batches import to_float32
from trainers.codes import SparseCodes
from trainers.row_norm import normalised

ACTS_AT_ONCE = 2**24
"""Activations with their zeros that are in memory at one time, 64 MiB."""
ROWS_PER_ERROR = 8
"""One row of so many is also reconstructed, to know what each latent contributes."""


@torch.inference_mode()
def encode_rows(subject: Subject, rows: Mapping[str, Tensor]) -> Encoded:
    """Of rows (hookpoint -> [rows, width], float32, on the SAE's device) the codes, and the errors of the first few."""
    x = side_by_side(rows, subject.inputs)
    step = max(1, ACTS_AT_ONCE // subject.sae.num_latents)
    parts = [_codes(subject, x[start : start + step], start) for start in range(0, len(x), step)]
    codes = Codes(*(np.concatenate(columns) for columns in zip(*parts, strict=True))) if parts else Codes.none()
    sampled = min(-(-len(x) // ROWS_PER_ERROR), step)
    y = side_by_side(rows, subject.targets)
    return Encoded(codes, _errors(subject, x[:sampled], y[:sampled], codes))


def side_by_side(rows: Mapping[str, Tensor], hookpoints: Sequence[str]) -> Tensor:
    """[rows, sum of widths]"""
    return rows[hookpoints[0]] if len(hookpoints) == 1 else torch.cat([rows[name] for name in hookpoints], dim=1)


def tensors(rows: Rows, device: torch.device) -> dict[str, Tensor]:
    """hookpoint -> [rows, width], float32."""
    return {name: to_float32(values).to(device) for name, values in rows.activations.items()}


def _codes(subject: Subject, x: Tensor, first_row: int) -> Codes:
    found = subject.sae.codes(x)
    row_of = np.repeat(np.arange(first_row, first_row + len(x), dtype=np.int32), found.starts.diff().cpu().numpy())
    values, latents = found.values.float().cpu().numpy(), found.latents.cpu().numpy()
    fires = values > 0
    return Codes(row_of[fires], latents[fires], values[fires])


def _errors(subject: Subject, x: Tensor, y: Tensor, codes: Codes) -> RowErrors:
    """Of the rows `x`, which are the first that `codes` tell of; nothing is as large as [rows, num_latents]."""
    sae, device = subject.sae, x.device
    edges = np.searchsorted(codes.rows, np.arange(len(x) + 1, dtype=np.int32)).astype(np.int32)
    count = int(edges[-1])
    row, latent, value, starts = (torch.from_numpy(one).to(device) for one in (*(c[:count] for c in codes), edges))
    acts = SparseCodes(value, latent, starts, sae.num_latents)
    error = y - sae.reconstruct_raw_sparse(x, acts)
    size = normalised(x, sae.normalize)[1].size
    scaled = value if isinstance(size, float) else value * size[row, 0]
    squares = torch.linalg.vector_norm(sae.W_dec, dim=1).square()
    rises = 2 * scaled * acts.backward(sae.W_dec, error) + scaled.square() * squares[latent]
    wide = y.double()
    return RowErrors(
        len(x),
        codes.latents[:count],
        rises.double().cpu().numpy(),
        wide.sum(0).cpu().numpy(),
        wide.square().sum().item(),
    )
