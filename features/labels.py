"""What people call latents, and how they tag them: `labels.jsonl`, which goes wherever the SAE is exported to."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from features.journal import Journal

FILE = "labels.jsonl"


@dataclass(frozen=True)
class Label:
    """What one person said of one latent at one time."""

    latent: int
    text: str
    tags: tuple[str, ...] = ()
    """Such as `safety:deception`."""
    author: str = ""
    time: str = ""
    """ISO 8601, UTC."""


class Labels:
    """The labels in an SAE's features folder. The newest of a latent counts; an empty one takes the older ones back."""

    def __init__(self, folder: Path) -> None:
        self._journal = Journal(folder / FILE, required=FIELDS)

    def add(self, latent: int, text: str, tags: Sequence[str] = (), author: str = "") -> Label:
        """Says of `latent` what holds from now on; what was said before stays in the file."""
        unique = tuple(dict.fromkeys(tag.strip() for tag in tags if tag.strip()))
        label = Label(latent, text.strip(), unique, author, now())
        self._journal.append([asdict(label)])
        return label

    def of(self, latent: int) -> Label | None:
        """The label that holds; None where there is none, or it was taken back."""
        return self.all().get(latent)

    def all(self) -> dict[int, Label]:
        """latent -> the label that holds, by the number of the latent."""
        newest = {one.latent: one for one in self._said()}
        return {latent: newest[latent] for latent in sorted(newest) if newest[latent].text or newest[latent].tags}

    def history(self, latent: int) -> list[Label]:
        """All that was ever said of `latent`, oldest first."""
        return [one for one in self._said() if one.latent == latent]

    @property
    def damage(self) -> list[str]:
        """A sentence for each line of the file that cannot be read."""
        return self._journal.damage

    def _said(self) -> list[Label]:
        return [_label(line.record) for line in self._journal.lines()]


def now() -> str:
    """`2026-11-25T22:40:00.123456+00:00`."""
    return datetime.now(UTC).isoformat()


def _label(record: dict[str, Any]) -> Label:
    return Label(**{name: record[name] for name in FIELDS if name != "tags"}, tags=tuple(record["tags"]))


FIELDS = tuple(one.name for one in fields(Label))
