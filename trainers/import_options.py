"""What a user says of another library's checkpoint where its files do not say it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.errors import UserError
from shared.hookpoints import INPUT
from trainers.sae_facts import SaeFacts


@dataclass(frozen=True)
class ImportOptions:
    """What is given here goes before what the files say."""

    model_name: str | None = None
    """A Hugging Face id or a folder."""
    hookpoint: str | None = None
    """As in a job file."""
    k: int | None = None
    """Active latents of a TopK."""
    allow_pickle: bool = False
    """Read pickles, by torch's unpickler for weights only."""

    def facts(
        self,
        path: Path,
        origin: str,
        *,
        model_name: str | None = None,
        hookpoint: str | None = None,
        transcodes: bool = False,
        context_tokens: int = 0,
        dataset: str = "",
        own: dict[str, Any] | None = None,
    ) -> SaeFacts:
        """The facts of the SAE at `path`, as its files and these options say. Raises UserError if both leave them out.

        Args:
            origin: the format; written down.
            transcodes: from the hookpoint's input, for a module, to its output.
            own: what the files hold of `SaeFacts.headrace`.
        """
        _check_kinds(path, {"model": (model_name, str), "dataset": (dataset, str), "context": (context_tokens, int)})
        model_name, hookpoint = self.model_name or model_name, self.hookpoint or hookpoint
        if not model_name:
            raise UserError(f"{path} does not say which model its SAE is for: give --model")
        if not hookpoint:
            raise UserError(f"{path} does not say at which module its SAE was trained: give --hookpoint")
        inputs, targets = (hookpoint,), (hookpoint,)
        if transcodes:
            targets = (hookpoint.removesuffix(INPUT),)
            inputs = (targets[0] + INPUT,)
        kept = {name: value for name, value in (own or {}).items() if name not in ("inputs", "targets")}
        own = {**kept, "imported_from": origin}
        return SaeFacts(model_name, inputs, targets, context_tokens, dataset, headrace=own)


def _check_kinds(path: Path, found: dict[str, tuple[Any, type]]) -> None:
    """Raises UserError for what a file says of its SAE's origin and that cannot be."""
    for name, (value, kind) in found.items():
        if value is not None and (not isinstance(value, kind) or isinstance(value, bool)):
            raise UserError(f"{path} is damaged: its {name} cannot be {str(value)[:60]!r}")
