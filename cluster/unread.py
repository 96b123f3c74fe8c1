"""The text of a run's corpus that none of its SAEs has read."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from cluster.subjects import Saved, check_text_is_unseen
from producers.corpus import Corpus
from producers.fresh_text import FreshText
from shared.config import CorpusConfig, Job
from shared.errors import CheckpointError, UserError
from trainers import read_facts


class Excerpt(NamedTuple):
    """Some text of a corpus, told in few words, so that another process can open the same."""

    corpus: CorpusConfig
    seed: int
    holdout: float
    units: Sequence[int]
    """Of the corpus; what it holds out comes before them."""
    fingerprint: str
    """Of the corpus."""

    def open(self) -> FreshText:
        """Raises UserError if the corpus is no longer what it was."""
        corpus = Corpus.open(self.corpus, self.seed, self.holdout)
        if corpus.fingerprint != self.fingerprint:
            raise UserError("the files of the text have changed since this collection began")
        return FreshText(corpus, self.units)


class Text(NamedTuple):
    """What is collected from."""

    units: FreshText
    source: str
    """In words."""
    excerpt: Excerpt
    """The same text, not open."""


def find_text(run_folder: Path, job: Job, saved: Saved, source: str | None) -> Text:
    """Text from `source`, or else what none of the SAEs has read: held out, or in units that no lane had begun on.

    Raises:
        UserError: there is none.
    """
    if source is not None:
        config = job.corpus.model_copy(update={"source": source, "epochs": 1})
        corpus = Corpus.open(config, job.seed)
        excerpt = Excerpt(config, job.seed, 0.0, range(corpus.num_units), corpus.fingerprint)
        return Text(FreshText(corpus, excerpt.units), source, excerpt)
    corpus = Corpus.open(job.corpus, job.seed, job.evaluation.holdout)
    check_text_is_unseen(saved, corpus)
    units = unread_units(run_folder, corpus, saved.checkpoint, tokens_of(saved))
    text = FreshText(corpus, units)
    if text.num_units == 0:
        raise UserError(
            f"no unit of the corpus of {job.name} is known to be unread by its SAEs; name other text with --source"
        )
    shown = job.corpus.source if isinstance(job.corpus.source, str) else ", ".join(job.corpus.source)
    told = f"{shown}: {text.num_held_out} units held out and {len(units)} that no SAE has read"
    return Text(text, told, Excerpt(job.corpus, job.seed, job.evaluation.holdout, units, corpus.fingerprint))


def tokens_of(saved: Saved) -> dict[str, int]:
    """On how many tokens each finished SAE was trained; empty for those of a checkpoint."""
    if saved.checkpoint is not None:
        return {}
    facts = {name: read_facts(folder).headrace for name, folder in saved.folders.items()}
    return {name: one["tokens"] for name, one in facts.items() if "tokens" in one}


def unread_units(
    run_folder: Path, corpus: Corpus, checkpoint: int | None, tokens: Mapping[str, int] | None = None
) -> Sequence[int]:
    """Units of the first epoch that no lane had begun on when the SAEs were as they are; later epochs repeat them.

    Args:
        checkpoint: the block of the checkpoint that the SAEs are of; None for finished ones.
        tokens: SAE -> on how many it was trained, where that is known.
    """
    begun = _finished_lanes(run_folder, tokens or {}) if checkpoint is None else _lanes_at(run_folder, checkpoint)
    if not begun:
        return []
    lanes = len(begun)
    return [unit for unit in range(corpus.num_first_units) if unit // lanes >= begun[unit % lanes]]


def _finished_lanes(run_folder: Path, tokens: Mapping[str, int]) -> list[int]:
    """Of each lane, the first of its own units that was never leased; empty where the run does not say.

    Of a job that stopped, or was killed, after some SAE had finished, what is written down may be of an earlier moment.
    """
    try:
        ledger = json.loads((run_folder / "ledger.json").read_bytes())
        read = {one["name"]: one["read"] for one in ledger.get("trainers", ())}
        if any(read.get(name, number) < number for name, number in tokens.items()):
            return []
        return [lane["next_unit"] for lane in ledger["lanes"]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []


def _lanes_at(run_folder: Path, block: int) -> list[int]:
    """Of each lane, the first of its own units that had no row in its reservoir."""
    path = run_folder / "checkpoints" / str(block) / "manifest.json"
    try:
        lanes = json.loads(path.read_bytes()).get("lanes", {})
        return [lane["counters"]["head"] + 1 for lane in lanes.values()]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} is damaged: {error!r}") from error
