"""The corpus as numbered units. What unit u holds is fixed by the configuration, the seed and the files alone.

Opening reads names, sizes and footers, never all of the text. Each epoch has every slice once, in an order of its own,
but for those that are held out: they are in no unit of any epoch, and make units of their own for evaluation.
"""

import hashlib
import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import NamedTuple, Protocol

import numpy as np

from producers.arrow_reader import ArrowFile, ArrowReader
from producers.document import Document, Layout
from producers.hub_dataset import SCHEME, HubDataset
from producers.jsonl_reader import JsonLinesReader
from producers.parquet_reader import ParquetReader
from producers.shelf import Shelf
from producers.slices import SLICE, held_out, least_share, shuffled, unit_edges
from producers.source_files import SourceFile, find_files
from producers.text_reader import TextReader
from shared.config import CorpusConfig
from shared.errors import UserError

SLICES_PER_UNIT = 4
"""A unit is made of several slices from anywhere in the corpus, so that its rows are mixed before they reach a lane."""
HELD_OUT_STREAM = 2**32
"""Where an epoch's number stands in the key of the generator, which no epoch has."""
OPENING_THREADS = 16
"""Files are opened side by side: on a remote store each takes a round trip or two."""


class Reader(Protocol):
    """What reads one file or table."""

    def slices(self) -> np.ndarray: ...

    def documents(self, part: int, start: int, stop: int) -> Iterator[Document]: ...


class Source(NamedTuple):
    """A reader and what tells its file from others in the fingerprint."""

    name: str
    size: int
    reader: Reader


class EpochOrder(NamedTuple):
    """One epoch, or what is held out: its slices in order, and where each of its units begins among them."""

    slices: np.ndarray
    edges: np.ndarray


class Corpus:
    """Units 0, 1, 2 … of documents, and held-out units 0, 1, 2 … beside them."""

    def __init__(
        self, sources: list[Source], slices: np.ndarray, config: CorpusConfig, seed: int, holdout: float = 0.0
    ) -> None:
        self._sources = sources
        self._seed = seed
        self._context_tokens = config.context_tokens
        self._unit_tokens = config.unit_contexts * config.context_tokens
        apart = held_out(slices["tokens"], holdout, self._generator(HELD_OUT_STREAM))
        self._slices = np.delete(slices, apart)
        self._held_out = EpochOrder(slices[apart], unit_edges(slices["tokens"][apart], self._unit_tokens))
        self._order: Callable[[int], EpochOrder] = lru_cache(maxsize=2)(self._compute_order)
        counts = [len(self._order(epoch).edges) - 1 for epoch in range(config.epochs)]
        self._first_units = np.concatenate([[0], np.cumsum(counts)])
        self.fingerprint = _fingerprint(sources, slices, apart)
        self.least_holdout = least_share(slices["tokens"])
        """The smallest share of which anything would be held out."""

    @classmethod
    def open(cls, config: CorpusConfig, seed: int, holdout: float = 0.0) -> "Corpus":
        """The corpus that `config` names, in the order that `seed` fixes, with a share of `holdout` kept out of it.

        Raises:
            UserError: a file is missing, not what its ending says, or without the column; or there is no text at all.
        """
        slice_tokens = config.unit_contexts * config.context_tokens / SLICES_PER_UNIT
        sources = _sources(config, Layout(config.text_column, config.tokens_column, slice_tokens))
        slices = _all_slices(sources)
        if len(slices) == 0:
            raise UserError(f"corpus.source: there is no text in {_shown(config)}")
        return cls(sources, slices, config, seed, holdout)

    @property
    def num_units(self) -> int:
        """Units of all epochs together."""
        return int(self._first_units[-1])

    @property
    def num_first_units(self) -> int:
        """Units of the first epoch, which have every text but what is held out once."""
        return int(self._first_units[1])

    @property
    def num_tokens(self) -> float:
        """An estimate, from sizes, of the tokens in one epoch."""
        return float(self._slices["tokens"].sum())

    @property
    def num_held_out_units(self) -> int:
        """0 where nothing is held out, or the corpus is too small for that."""
        return len(self._held_out.edges) - 1 if len(self._held_out.slices) else 0

    @property
    def held_out_contexts(self) -> int:
        """An estimate, from sizes, of the contexts that no unit has; 0 only where nothing is held out."""
        return math.ceil(self._held_out.slices["tokens"].sum() / self._context_tokens)

    def documents(self, unit: int) -> Iterator[Document]:
        """The documents of one unit, in order. Raises UserError if what is read is damaged."""
        if not 0 <= unit < self.num_units:
            raise IndexError(f"unit {unit} is not one of {self.num_units}")
        epoch = int(np.searchsorted(self._first_units, unit, side="right")) - 1
        return self._read(self._order(epoch), unit - int(self._first_units[epoch]))

    def held_out(self, unit: int) -> Iterator[Document]:
        """The documents of one held-out unit, in order; every slice that is held out is in one."""
        if not 0 <= unit < self.num_held_out_units:
            raise IndexError(f"held-out unit {unit} is not one of {self.num_held_out_units}")
        return self._read(self._held_out, unit)

    def _read(self, order: EpochOrder, within: int) -> Iterator[Document]:
        for reader, part, start, stop, _ in order.slices[order.edges[within] : order.edges[within + 1]].tolist():
            yield from self._sources[reader].reader.documents(part, start, stop)

    def _generator(self, stream: int) -> np.random.Generator:
        return np.random.Generator(np.random.Philox(key=[self._seed, stream]))

    def _compute_order(self, epoch: int) -> EpochOrder:
        slices = self._slices[shuffled(self._slices, self._generator(epoch))]
        return EpochOrder(slices, unit_edges(slices["tokens"], self._unit_tokens))


def _sources(config: CorpusConfig, layout: Layout) -> list[Source]:
    shelf = Shelf()
    named = (config.source,) if isinstance(config.source, str) else config.source
    sources: dict[str, Source] = {}
    for source in named:
        if source.startswith(SCHEME):
            hub = HubDataset(source, layout)
            sources[source] = Source(source, hub.table().nbytes, ArrowReader(hub, layout))
            continue
        for file in find_files(source):
            sources.setdefault(
                f"{file.filesystem.type_name}:{file.path}", Source(file.name, file.size, _reader(file, layout, shelf))
            )
    return list(sources.values())


def _reader(file: SourceFile, layout: Layout, shelf: Shelf) -> Reader:
    match file.ending:
        case ".parquet":
            return ParquetReader(file, layout, shelf)
        case ".jsonl" | ".json":
            return JsonLinesReader(file, layout)
        case ".arrow" | ".feather":
            return ArrowReader(ArrowFile(file, layout, shelf), layout)
        case _:
            return TextReader(file, layout)


def _all_slices(sources: list[Source]) -> np.ndarray:
    with ThreadPoolExecutor(OPENING_THREADS) as pool:
        found = list(pool.map(lambda source: source.reader.slices(), sources))
    for index, slices in enumerate(found):
        slices["reader"] = index
    return np.concatenate([np.zeros(0, SLICE), *found])


def _fingerprint(sources: list[Source], slices: np.ndarray, apart: np.ndarray) -> str:
    digest = hashlib.sha256()
    for source in sources:
        digest.update(f"{source.name}\0{source.size}\n".encode())
    for field in ("reader", "part", "start", "stop"):
        digest.update(np.ascontiguousarray(slices[field]).tobytes())
    if len(apart):
        digest.update(b"held out" + apart.astype(np.int64).tobytes())
    return digest.hexdigest()[:32]


def _shown(config: CorpusConfig) -> str:
    return config.source if isinstance(config.source, str) else ", ".join(config.source)
