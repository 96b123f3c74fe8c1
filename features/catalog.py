"""The numbers of each latent, as one table.

density    share of rows on which it fires
mean_act   E[a] over all rows, a its activation, 0 where it is silent; mean_act_squared: E[a^2]
skew       E[(a - E a)^3] / sd^3;  kurtosis: E[(a - E a)^4] / sd^4, 3 for a Gaussian; over all rows
max_act    the greatest activation
fvu_share  by how much the fraction of variance unexplained rises when the latent is set to 0
"""

from typing import NamedTuple

import numpy as np
import pyarrow as pa

from features.moments import Moments
from features.store_tables import CATALOG_SCHEMA, rows_as_lists


class Nearest(NamedTuple):
    """Of each latent the nearest directions, nearest first, [L, n]."""

    ids: np.ndarray
    cosines: np.ndarray


class Lens(NamedTuple):
    """Of each latent the tokens that its direction makes likelier and unlikelier, strongest first, [L, n]."""

    promoted_ids: np.ndarray
    promoted_values: np.ndarray
    suppressed_ids: np.ndarray
    suppressed_values: np.ndarray

    @classmethod
    def none(cls, num_latents: int) -> "Lens":
        """Of a model that has no unembedding."""
        ids, values = np.zeros((num_latents, 0), np.int32), np.zeros((num_latents, 0), np.float32)
        return cls(ids, values, ids, values)


def catalog_table(moments: Moments, fvu_share: np.ndarray, lens: Lens, nearest: Nearest) -> pa.Table:
    """CATALOG_SCHEMA; `fvu_share` float64 [L], nan where it is not known."""
    num_latents = len(moments.fired)
    skew, kurtosis = _shape_of(moments)
    columns = [
        pa.array(np.arange(num_latents, dtype=np.int32)),
        pa.array(moments.fired),
        pa.array(moments.fired / max(1, moments.rows)),
        pa.array(moments.mean(1)),
        pa.array(moments.mean(2)),
        pa.array(skew, from_pandas=True),
        pa.array(kurtosis, from_pandas=True),
        pa.array(moments.max_act),
        pa.array(fvu_share, from_pandas=True),
        pa.array(moments.fired == 0),
        *(rows_as_lists(part) for part in lens),
        *(rows_as_lists(part) for part in nearest),
        rows_as_lists(moments.histogram),
    ]
    return pa.Table.from_arrays(columns, schema=CATALOG_SCHEMA)


def _shape_of(moments: Moments) -> tuple[np.ndarray, np.ndarray]:
    """Skew and kurtosis, float64 [L]; nan of what does not vary."""
    first, second, third, fourth = (moments.mean(power) for power in (1, 2, 3, 4))
    variance = np.maximum(second - first**2, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        skew = (third - 3 * first * second + 2 * first**3) / variance**1.5
        kurtosis = (fourth - 4 * first * third + 6 * first**2 * second - 3 * first**4) / variance**2
    varies = variance > 0
    return np.where(varies, skew, np.nan), np.where(varies, kurtosis, np.nan)
