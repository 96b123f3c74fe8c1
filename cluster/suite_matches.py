"""Which SAEs of a suite are matched with each other, and what is kept of it.

Beside the comparison lie `latents/<sae>.parquet`, what is nearest to each latent in each other SAE, and
`splits.parquet`. Rows stand by latent, so a reader of one latent reads one row group.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from cluster.suite import SuiteSae
from trainers.decoder import read_decoder, read_frequencies
from trainers.dictionary_match import DictionaryMatch, Splits, match_dictionaries, splits, without_counterpart
from trainers.latent_matching import Matches

MOST_FLOPS = 2e13
"""Of all pairs of `sizes`: some minutes on two cores."""
SHOWN_SPLITS = 10
BINS = np.linspace(0, 1, 51)
"""Of the histograms of greatest cosines; below 0 counts as 0."""
GROUP_ROWS = 65_536
LATENTS = "latents"
SPLITS = "splits.parquet"
NEAREST_SCHEMA = pa.schema(
    [
        ("latent", pa.int32()),
        ("other", pa.string()),
        ("nearest", pa.int32()),
        ("cosine", pa.float32()),
        ("partner", pa.int32()),
        ("partner_cosine", pa.float32()),
    ]
)
"""`partner` is the one in one-to-one pairs, null where there is none."""
SPLIT_SCHEMA = pa.schema(
    [
        ("sae", pa.string()),
        ("latent", pa.int32()),
        ("other", pa.string()),
        ("child", pa.int32()),
        ("cosine", pa.float32()),
    ]
)


class Pair(NamedTuple):
    """Two SAEs of one site, the narrower first."""

    first: SuiteSae
    second: SuiteSae

    @property
    def flops(self) -> float:
        return 2.0 * self.first.d_out * self.first.num_latents * self.second.num_latents


@dataclass(frozen=True)
class Side:
    """What one of the two makes of the other."""

    mmcs: float
    chance: float
    """What MMCS would be of random directions."""
    without_counterpart: int
    without_counterpart_that_fired: int | None
    """None where nothing is known of firing."""
    histogram: list[int]
    """Greatest cosines by `BINS`."""


@dataclass(frozen=True)
class Split:
    """A latent of the narrower SAE and those of the wider that came of it."""

    latent: int
    children: list[int]
    cosines: list[float]


@dataclass(frozen=True)
class PairFacts:
    """A pair, matched."""

    first: str
    second: str
    from_first: Side
    from_second: Side
    mcc: float
    num_pairs: int
    is_exact: bool
    same: float
    same_number: float
    """Share of the narrower SAE's latents whose nearest has their own number: SAEs of one seed begin alike."""
    num_splits: int
    most_split: list[Split]

    def facts(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def pairs_of(saes: Sequence[SuiteSae], which: str) -> tuple[list[Pair], list[Pair]]:
    """Pairs to match of the SAEs of one site, and those that are left out because all would take too long.

    `sizes`: those that differ in size alone, neighbours and those trained longest first, up to `MOST_FLOPS`;
    `all`: every two, however long it takes.
    """
    ordered = sorted(saes, key=lambda one: one.num_latents)
    pairs = [Pair(*both) for both in combinations(ordered, 2)] if which != "none" else []
    if which != "sizes":
        return pairs, []
    sizes = sorted({one.num_latents for one in saes})
    differ = [pair for pair in pairs if _differ_in_size_alone(pair)]
    steps = {size: step for step, size in enumerate(sizes)}
    differ.sort(key=lambda pair: (steps[pair.second.num_latents] - steps[pair.first.num_latents], -pair.first.tokens))
    affordable = np.cumsum([pair.flops for pair in differ]) <= MOST_FLOPS
    return differ[: affordable.sum()], differ[affordable.sum() :]


def match_pairs(
    pairs: Sequence[Pair], folder: Path, same: float, on_pair: Callable[[Pair], None] = lambda pair: None
) -> list[PairFacts]:
    """Matches `pairs` and leaves in `folder` what was found of every latent; `on_pair` is told of the next.

    Raises:
        UserError: an SAE's weights cannot be read.
    """
    found, nearest, split_tables = list[PairFacts](), dict[str, list[pa.Table]](), list[pa.Table]()
    for pair in pairs:
        on_pair(pair)
        first, second = (_decoder(one) for one in pair)
        match = match_dictionaries(first, second)
        apart = splits(match.second, same)
        found.append(_facts(pair, match, apart, same))
        split_tables.append(_split_table(pair, apart))
        for one, other, matches, partners in _sides(pair, match):
            nearest.setdefault(one.name, []).append(_nearest_table(other.name, matches, partners))
    _write(folder, nearest, split_tables)
    return found


def file_name(sae: str) -> str:
    """Of the file under `latents/` for an SAE, which may be `run/name`."""
    return f"{sae.replace('/', '--')}.parquet"


def _differ_in_size_alone(pair: Pair) -> bool:
    first, second = pair
    alike = (first.architecture, first.sparsity, first.tokens) == (second.architecture, second.sparsity, second.tokens)
    return alike and first.num_latents != second.num_latents


def _decoder(one: SuiteSae) -> Tensor:
    return read_decoder(one.folder).to("cuda" if torch.cuda.is_available() else "cpu")


def _facts(pair: Pair, match: DictionaryMatch, apart: Splits, same: float) -> PairFacts:
    sides = zip(pair, (match.first, match.second), match.mmcs, match.chance, strict=True)
    from_first, from_second = (_side(one.folder, matches, mmcs, chance, same) for one, matches, mmcs, chance in sides)
    shown = zip(apart.latents.tolist(), apart.children, apart.cosines, strict=True)
    return PairFacts(
        first=pair.first.name,
        second=pair.second.name,
        from_first=from_first,
        from_second=from_second,
        mcc=match.mcc,
        num_pairs=len(match.pairs.rows),
        is_exact=match.is_exact,
        same=same,
        same_number=(match.first.columns == match.first.rows).double().mean().item(),
        num_splits=len(apart.latents),
        most_split=[Split(one, a.tolist(), b.tolist()) for one, a, b in list(shown)[:SHOWN_SPLITS]],
    )


def _side(folder: Path, matches: Matches, mmcs: float, chance: float, same: float) -> Side:
    alone, frequencies = without_counterpart(matches, same), read_frequencies(folder)
    fired = None if frequencies is None else int((frequencies[alone] > 0).sum())
    histogram, _ = np.histogram(matches.cosines.clamp(min=0, max=1).numpy(), BINS)
    return Side(mmcs, chance, len(alone), fired, histogram.tolist())


def _sides(pair: Pair, match: DictionaryMatch) -> Iterator[tuple[SuiteSae, SuiteSae, Matches, Matches]]:
    """Each SAE with the other, its nearest latents there, and its partners there."""
    rows, columns, cosines = match.pairs
    yield pair.first, pair.second, match.first, match.pairs
    yield pair.second, pair.first, match.second, Matches(columns, rows, cosines)


def _nearest_table(other: str, matches: Matches, partners: Matches) -> pa.Table:
    partner = np.full(len(matches.rows), -1, dtype=np.int32)
    cosine = np.full(len(matches.rows), np.nan, dtype=np.float32)
    partner[partners.rows], cosine[partners.rows] = partners.columns.numpy(), partners.cosines.numpy()
    columns = [
        matches.rows.numpy().astype(np.int32),
        pa.repeat(other, len(partner)),
        matches.columns.numpy().astype(np.int32),
        matches.cosines.numpy(),
        pa.array(partner, mask=partner < 0),
        pa.array(cosine, mask=partner < 0),
    ]
    return _table(columns, NEAREST_SCHEMA)


def _split_table(pair: Pair, apart: Splits) -> pa.Table:
    counts = [len(one) for one in apart.children]
    num_rows = sum(counts)
    columns = [
        [pair.first.name] * num_rows,
        np.repeat(apart.latents.numpy(), counts).astype(np.int32),
        [pair.second.name] * num_rows,
        [child for one in apart.children for child in one.tolist()],
        [cosine for one in apart.cosines for cosine in one.tolist()],
    ]
    return _table(columns, SPLIT_SCHEMA)


def _table(columns: Sequence[Any], schema: pa.Schema) -> pa.Table:
    arrays = [pa.array(one, field.type) for one, field in zip(columns, schema, strict=True)]
    return pa.Table.from_arrays(arrays, schema=schema)


def _write(folder: Path, nearest: dict[str, list[pa.Table]], split_tables: list[pa.Table]) -> None:
    (folder / LATENTS).mkdir(parents=True, exist_ok=True)
    for name, tables in nearest.items():
        whole = pa.concat_tables(tables).sort_by([("latent", "ascending"), ("other", "ascending")])
        pq.write_table(whole, folder / LATENTS / file_name(name), row_group_size=GROUP_ROWS)
    pq.write_table(pa.concat_tables([SPLIT_SCHEMA.empty_table(), *split_tables]), folder / SPLITS)
