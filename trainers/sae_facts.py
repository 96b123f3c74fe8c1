"""Where an SAE comes from."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class SaeFacts:
    """Where an SAE's rows came from; goes into `cfg.json`."""

    model_name: str
    inputs: tuple[str, ...]
    """The hookpoints that are encoded, side by side."""
    targets: tuple[str, ...]
    """Those that are reconstructed: the same, but for transcoders."""
    context_tokens: int
    dataset: str
    prepend_bos: bool = True
    exclude_special_tokens: bool = False
    headrace: dict[str, Any] = field(default_factory=dict)
    """Facts of our own: version, tokens, seed, digests …"""
