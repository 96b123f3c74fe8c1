"""What the collectors of one command must know, and which part of the text each of them reads: plain values.

What is collected depends on the number of collectors only by which text each sees: their parts are fixed, each is
collected as a process alone would do it, and they are merged in the order of their numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.collection_pass import CollectionPass, saved_collection
from cluster.evaluation import Subject
from cluster.subjects import Saved
from cluster.unread import Excerpt
from features.collection import Collection
from features.collection_state import saved_facts
from features.settings import CollectionSettings
from producers.producer import Producer
from shared.config import Job
from shared.errors import JobFailed, UserError


@dataclass(frozen=True)
class Share:
    """The part of collector `number` among `count`: every `count`th unit, until it has seen its part of the tokens."""

    number: int
    count: int

    @property
    def role(self) -> str:
        return f"collector-{self.number}"

    def units(self, num_units: int) -> range:
        return range(self.number, num_units, self.count)

    def tokens(self, tokens: int) -> int:
        return -(-tokens // self.count)

    def state(self, folder: Path) -> Path:
        """Where in `folder` it saves itself: another number of collectors leaves it alone."""
        return folder / f"{self.number}-of-{self.count}"

    def identity(self, whole: dict[str, Any], tokens: int) -> dict[str, Any]:
        """What its saves are of; with the tokens, since a part that is done may end within a unit."""
        return whole if self.count == 1 else {**whole, "share": [self.number, self.count, tokens]}


@dataclass(frozen=True)
class CollectionPlan:
    """What is the same for all collectors; nothing in it is open, so that it can be sent."""

    job: Job
    """Its model has the device and the dtype that collectors run it with."""
    saes: Saved
    """Where collectors read them."""
    excerpt: Excerpt
    tokens: int
    """About how many rows all collectors are to see together."""
    settings: CollectionSettings
    identity: dict[str, Any]
    """Where any of it is another, what was saved does not count."""
    state: Path
    """The folder of saves."""
    save_s: float
    """Between two saves."""

    def begin(self, share: Share, producer: Producer, subjects: Sequence[Subject]) -> CollectionPass:
        """The pass over one part, or what is left of it."""
        context_tokens, state = self.job.corpus.context_tokens, share.state(self.state)
        return CollectionPass(producer, subjects, context_tokens, self.settings, state, self._identity(share))

    def saved_rows(self, share: Share) -> int:
        """How many rows of a part have been seen and saved."""
        facts = saved_facts(share.state(self.state))
        return facts.get("rows", 0) if facts is not None and facts["identity"] == self._identity(share) else 0

    def merged(self, rows: Sequence[int], shares: Sequence[Share], subjects: Sequence[Subject]) -> Collection:
        """What the collectors have saved at their ends, when they had seen `rows` each.

        Raises:
            JobFailed: one's save is not seen here.
        """
        (first, *others) = (self._saved(*one, subjects) for one in zip(rows, shares, strict=True))
        for other in others:
            first.merge(other)
        return first

    def _saved(self, rows: int, share: Share, subjects: Sequence[Subject]) -> Collection:
        context_tokens, state = self.job.corpus.context_tokens, share.state(self.state)
        found, _ = saved_collection(subjects, context_tokens, self.settings, state, self._identity(share))
        if found.rows != rows:
            raise JobFailed(
                f"{share.role} has saved {rows:,} tokens in {state}, and here {found.rows:,} are seen there: "
                "the run folder must lie on a disk that all nodes share"
            )
        return found

    def _identity(self, share: Share) -> dict[str, Any]:
        return share.identity(self.identity, self.tokens)


def shares_of(collectors: int, num_units: int) -> list[Share]:
    """The parts of a text of `num_units` units.

    Raises:
        UserError: there cannot be so many collectors.
    """
    if collectors < 1:
        raise UserError(f"--collectors must be at least 1, got {collectors}")
    if collectors > max(1, num_units):
        raise UserError(f"--collectors must be at most {num_units}, the number of units of the text, got {collectors}")
    return [Share(number, collectors) for number in range(collectors)]
