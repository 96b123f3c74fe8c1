"""An SAE's labels where it goes: they lie with its run's features, and beside its weights once it has left the run."""

from pathlib import Path

from features.labels import FILE


def labels_of(sae_folder: Path) -> Path | None:
    """The file of what people said of its latents; None if nobody has."""
    sae_folder = sae_folder.resolve()
    in_run = sae_folder.parent.parent / "features" / sae_folder.name / FILE
    return next((path for path in (in_run, sae_folder / FILE) if path.is_file()), None)
