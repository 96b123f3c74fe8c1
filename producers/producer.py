"""Units in, chunks of rows out: reads, tokenises and packs the next unit while the model runs on this one.

A forward never mixes units, so that the bits of a unit's rows depend on nothing but the unit.
"""

import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from typing import NamedTuple, Protocol

import numpy as np
import pyarrow as pa
import torch

from producers.corpus import Corpus
from producers.document import Document
from producers.hooked_model import HookedModel
from producers.model_facts import describe_model
from producers.packing import Contexts, pack
from producers.prefetch import prefetched
from producers.pretrained import resolve_device
from producers.row_gather import RowGather
from producers.tokenizing import DocumentTokenizer
from shared.config import Job
from shared.errors import JobFailed, UserError
from shared.row_table import ADDRESS_COLUMNS, RowFormat, Rows


class Units(Protocol):
    """Documents by the number of the unit that they are in."""

    @property
    def num_units(self) -> int: ...

    def documents(self, unit: int) -> Iterable[Document]: ...


class PackedUnit(NamedTuple):
    """A unit that is ready for the model."""

    unit: int
    contexts: Contexts
    kept: np.ndarray
    """bool [contexts, context_tokens]: the positions that become rows."""


class RunningForward(NamedTuple):
    """A forward that was started; on a GPU it may not have ended."""

    number: int
    first_context: int
    addresses: np.ndarray
    gather: RowGather
    launch_s: float


class SeenText(NamedTuple):
    """What the model saw in one forward, rows or not."""

    first_context: int
    """Its number in the unit."""
    contexts: Contexts
    kept: np.ndarray
    """bool [contexts, context_tokens]: what became rows."""


class Chunk(NamedTuple):
    """The rows of one forward."""

    unit: int
    number: int
    """In its unit, from 0."""
    num_chunks: int
    """Of the unit; at least 1."""
    unit_rows: int
    """Of the whole unit."""
    table: pa.Table
    forward_s: float
    wait_s: float
    """How long the model stood idle before this chunk because the unit was not packed yet."""
    seen: SeenText


class Producer:
    """The language model and its corpus, for one job."""

    def __init__(self, job: Job, corpus: Units | None = None, model: HookedModel | None = None) -> None:
        """Loads what is not given. Raises UserError if model, tokenizer or corpus is not what the job says."""
        device = resolve_device(job.model, job.producers.gpus)
        facts = describe_model(job.model, job.producers.gpus)
        check_context(job, facts.max_positions)
        self._context_tokens = job.corpus.context_tokens
        self._contexts_per_forward = job.producers.contexts_per_forward
        self.corpus = corpus or Corpus.open(job.corpus, job.seed, job.evaluation.holdout)
        self._tokenizer = DocumentTokenizer.load(job.model, job.corpus, facts.vocab_size)
        self._model = model or HookedModel.load(job.model, device, facts.dtype)
        self._forwards_ahead = 1 if self._model.device.type == "cuda" else 0
        self.row_format = RowFormat(job.name, job.model.name, facts.revision, facts.widths, facts.dtype)

    def chunks(self, units: Iterable[int]) -> Generator[Chunk]:
        """The chunks of `units`, in order. A thread takes the next unit from `units` while this one is in the model.

        Raises:
            UserError: the corpus is damaged. JobFailed: activations are not finite.
        """
        packed = prefetched(self._pack(unit) for unit in units)
        with closing(packed):
            asked = time.perf_counter()
            for ready in packed:
                wait_s = time.perf_counter() - asked
                yield from self._unit_chunks(ready, wait_s)
                asked = time.perf_counter()

    def _pack(self, unit: int) -> PackedUnit:
        token_ids = self._tokenizer.encode(self.corpus.documents(unit))
        contexts = pack(token_ids, self._tokenizer.template, self._context_tokens)
        return PackedUnit(unit, contexts, contexts.kept(self._tokenizer.is_excluded))

    def _unit_chunks(self, packed: PackedUnit, wait_s: float) -> Iterator[Chunk]:
        """The unit's chunks; on a GPU the next forward is queued before the rows of the one before are waited for."""
        step = self._contexts_per_forward
        num_chunks = max(1, -(-len(packed.kept) // step))
        running: deque[RunningForward] = deque()
        for number in range(num_chunks):
            running.append(self._launch(packed, number, slice(number * step, (number + 1) * step)))
            if len(running) > self._forwards_ahead:
                yield self._chunk(packed, running.popleft(), num_chunks, wait_s)
        while running:
            yield self._chunk(packed, running.popleft(), num_chunks, wait_s)

    def _launch(self, packed: PackedUnit, number: int, contexts: slice) -> RunningForward:
        begun = time.perf_counter()
        gather = RowGather(packed.kept[contexts], self._model.device, self.row_format.dtype)
        if gather.num_rows:
            token_ids = torch.from_numpy(packed.contexts.token_ids[contexts])
            self._model.run(token_ids, torch.from_numpy(packed.contexts.attention_mask[contexts]), gather)
        return RunningForward(number, contexts.start, _addresses(packed, contexts), gather, time.perf_counter() - begun)

    def _chunk(self, packed: PackedUnit, running: RunningForward, num_chunks: int, wait_s: float) -> Chunk:
        begun = time.perf_counter()
        rows = Rows(running.addresses, running.gather.arrays(self.row_format))
        _check_finite(packed.unit, running.gather)
        number, unit_rows = running.number, int(packed.kept.sum())
        table = self.row_format.table(rows, unit=packed.unit, chunk=number)
        forward_s = running.launch_s + time.perf_counter() - begun
        contexts = slice(running.first_context, running.first_context + self._contexts_per_forward)
        seen = SeenText(contexts.start, Contexts(*(part[contexts] for part in packed.contexts)), packed.kept[contexts])
        return Chunk(packed.unit, number, num_chunks, unit_rows, table, forward_s, wait_s if number == 0 else 0.0, seen)


def check_context(job: Job, max_positions: int | None) -> None:
    """Raises UserError if contexts are longer than the model can take."""
    if max_positions is not None and job.corpus.context_tokens > max_positions:
        raise UserError(
            f"corpus.context_tokens must be at most {max_positions}, the longest context of {job.model.name}, "
            f"got {job.corpus.context_tokens}"
        )


def _addresses(packed: PackedUnit, contexts: slice) -> np.ndarray:
    """int32 [rows, 5], contiguous by column: where the kept positions of some contexts stand, in order."""
    context, position = np.nonzero(packed.kept[contexts])
    columns = np.empty((len(ADDRESS_COLUMNS), len(context)), np.int32)
    columns[0] = packed.unit
    columns[1] = packed.contexts.document[contexts][context, position]
    columns[2] = context + contexts.start
    columns[3] = position
    columns[4] = packed.contexts.token_ids[contexts][context, position]
    return columns.T


def _check_finite(unit: int, gather: RowGather) -> None:
    for name, num_bad in gather.not_finite().items():
        raise JobFailed(f"unit {unit}: {num_bad} of {gather.num_rows} rows at {name} are not finite (nan or inf)")
