"""What a folder of features says about itself: `meta.json`, written last, so that a store without it is none."""

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from shared.errors import UserError
from shared.files import write_atomically

FORMAT_VERSION = 1
META = "meta.json"


@dataclass(frozen=True)
class StoreMeta:
    """Of which SAE, model and text the features are."""

    job: str
    trainer: str
    architecture: str
    num_latents: int
    d_in: int
    model: str
    revision: str
    tokenizer: str
    inputs: tuple[str, ...]
    """Hookpoints that are encoded."""
    targets: tuple[str, ...]
    """Hookpoints that are reconstructed."""
    source: str
    """Where the text is from: the corpus' source, and which part of it."""
    tokens: int
    """Rows that were encoded."""
    contexts: int
    context_tokens: int
    window_tokens: int
    """At most so many tokens are in a stored context."""
    seed: int
    """Of what is drawn by hash."""
    checkpoint: int | None
    """The block of the checkpoint that the SAE is of; None for a finished one."""
    top_contexts: int
    samples_per_bin: int
    histogram_edges: tuple[float, ...]

    def write(self, folder: Path) -> None:
        facts = {"format_version": FORMAT_VERSION, **asdict(self)}
        write_atomically(folder / META, (json.dumps(facts, indent=2) + "\n").encode())


def read_meta(folder: Path) -> StoreMeta:
    """What `folder` says. Raises UserError if it holds no features, or those of another version."""
    try:
        facts = json.loads((folder / META).read_bytes())
    except OSError:
        raise UserError(f"{folder} holds no features; collect them with: headrace features collect RUN") from None
    except ValueError:
        raise UserError(f"{folder / META} is damaged: it is not JSON") from None
    version = facts.get("format_version") if isinstance(facts, dict) else None
    if version != FORMAT_VERSION:
        raise UserError(f"{folder} has features of format version {version}, this Headrace reads {FORMAT_VERSION}")
    missing = [field.name for field in fields(StoreMeta) if field.name not in facts]
    if missing:
        raise UserError(f"{folder / META} is damaged: it lacks {', '.join(missing)}")
    return StoreMeta(**{field.name: _frozen(facts[field.name]) for field in fields(StoreMeta)})


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
