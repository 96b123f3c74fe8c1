"""The pass of a model over text that fills a collection: unit after unit, saved now and then, gone on with later.

The model runs once for all SAEs. What is saved on the way ends with a whole unit, so going on equals never having
stopped.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from cluster.encoding import encode_rows, tensors
from cluster.evaluation import Subject
from features.collection import Collection, Encoded, SaeShape
from features.collection_state import load_collection, save_collection, saved_facts
from features.settings import CollectionSettings
from features.text_batch import TextBatch
from producers.producer import Chunk, Producer

SAVE_S = 60.0
"""Between two saves."""


class CollectionPass:
    """One pass for some SAEs; `state` is where it is saved, `identity` what must be the same to go on from there."""

    def __init__(
        self,
        producer: Producer,
        subjects: Sequence[Subject],
        context_tokens: int,
        settings: CollectionSettings,
        state: Path,
        identity: dict[str, Any],
    ) -> None:
        self._producer, self._subjects, self._state, self._identity = producer, subjects, state, identity
        self.collection, self._next_unit = saved_collection(subjects, context_tokens, settings, state, identity)

    def run(self, units: range, tokens: int, on_rows: Callable[[int], None], save_s: float = SAVE_S) -> None:
        """Reads on in `units` until it has seen about `tokens` rows; tells `on_rows` how many there were."""
        on_rows(self.collection.rows)
        saved_at = time.monotonic()
        if self.collection.rows < tokens:
            for chunk in self._producer.chunks(range(max(units.start, self._next_unit), units.stop, units.step)):
                self.collection.add(*self._encoded(chunk))
                on_rows(self.collection.rows)
                if self.collection.rows >= tokens:
                    break
                if chunk.number + 1 == chunk.num_chunks:
                    self._next_unit = chunk.unit + units.step
                    if time.monotonic() - saved_at >= save_s:
                        self.save()
                        saved_at = time.monotonic()
        self.collection.settle()

    def save(self) -> None:
        """After `run` it holds the end of the pass, which may lie within a unit: nobody reads on from there."""
        facts = {"identity": self._identity, "next_unit": self._next_unit, "rows": self.collection.rows}
        save_collection(self.collection, self._state, facts)

    def _encoded(self, chunk: Chunk) -> tuple[TextBatch, dict[str, Encoded]]:
        device = next(self._subjects[0].sae.parameters()).device
        rows = tensors(self._producer.row_format.rows(chunk.table), device)
        return text_batch(chunk), {one.name: encode_rows(one, rows) for one in self._subjects}


def saved_collection(
    subjects: Sequence[Subject],
    context_tokens: int,
    settings: CollectionSettings,
    state: Path,
    identity: dict[str, Any],
) -> tuple[Collection, int]:
    """What a pass of `identity` has saved in `state`, and the unit that it had not read; or an empty collection and 0.

    Raises:
        CheckpointError: it is damaged.
    """
    shapes = {one.name: SaeShape(one.sae.num_latents, one.sae.d_out) for one in subjects}
    collection, facts = Collection(shapes, context_tokens, settings), saved_facts(state)
    if facts is None or facts["identity"] != identity:
        return collection, 0
    load_collection(collection, state)
    return collection, facts["next_unit"]


def text_batch(chunk: Chunk) -> TextBatch:
    """What the collectors get of a chunk's text."""
    seen = chunk.seen
    return TextBatch(chunk.unit, seen.first_context, seen.contexts.token_ids, seen.contexts.document, seen.kept)
