"""Other libraries' SAEs into our folders, and ours into theirs. Each format is a module of one shape:

recognises(path); read(path, options) -> SAE, facts; and where it can be written, refusal(sae, facts), which says why an
SAE cannot be, place(facts, out), the folder below `out` that an SAE comes to lie in, and write(sae, facts, folder).
"""

import shutil
from pathlib import Path
from types import ModuleType

from shared.errors import UserError
from trainers import dictionary_learning_format, openai_format, saelens_exchange, sparsify_format
from trainers.crosscoder import Crosscoder
from trainers.import_options import ImportOptions
from trainers.model_card import LABELS, write_card
from trainers.sae import SparseAutoencoder
from trainers.sae_facts import SaeFacts
from trainers.saelens_format import load_sae, read_facts, save_sae
from trainers.weight_files import read_json, read_safetensors

FORMATS: dict[str, ModuleType] = {
    "saelens": saelens_exchange,
    "sparsify": sparsify_format,
    "dictionary_learning": dictionary_learning_format,
    "openai": openai_format,
}
WRITABLE = ("saelens", "sparsify")
BESIDE = ("sparsity.safetensors", "metrics.json", "evaluation.json", LABELS)


def export_sae(folder: Path, to: str, out: Path, labels: Path | None = None) -> Path:
    """Writes the SAE in `folder` in another format; gives the folder that it is in.

    Args:
        labels: the file of what people called its latents, where that is not in `folder`.
    Raises:
        UserError: `out` has files already, or the format cannot hold this SAE; says why.
    """
    sae, facts = load_sae(folder), read_facts(folder)
    reason = FORMATS[to].refusal(sae, facts)
    if reason is not None:
        raise UserError(f"{folder} cannot be written in {to}'s format: {reason}")
    place = FORMATS[to].place(facts, out)
    _check_free(place)
    FORMATS[to].write(sae, facts, place)
    _copy_beside(folder, place)
    if labels is not None:
        shutil.copyfile(labels, place / LABELS)
    write_card(place, described_by=folder, library=to)
    return place


def import_saes(path: Path, origin: str | None, out: Path, options: ImportOptions) -> list[Path]:
    """Writes the SAE at `path` as the folder `out`, or each of those below `path` in a folder below `out`.

    Args:
        origin: the format; None to find it out.
    Raises:
        UserError: there is none, it cannot be read, or `out` has files already.
    """
    found = find_saes(path, origin)
    places = [out / place.relative_to(path) if len(found) > 1 else out for _, place in found]
    for place in places:
        _check_free(place)
    for (name, source), place in zip(found, places, strict=True):
        sae, facts = FORMATS[name].read(source, options)
        _check_beside(source)
        _check_target(sae, facts, source)
        save_sae(sae, place, facts)
        _copy_beside(source, place)
        write_card(place)
    return places


def _check_target(sae: SparseAutoencoder, facts: SaeFacts, source: Path) -> None:
    """Raises UserError for a transcoder that is said to give back what it reads."""
    transcodes = not isinstance(sae, Crosscoder) and (sae.d_in != sae.d_out or sae.W_skip is not None)
    if transcodes and facts.inputs == facts.targets:
        raise UserError(
            f"{source} is a transcoder, whose target must be another hookpoint than what it reads, "
            f"{', '.join(facts.inputs)}"
        )


def find_saes(path: Path, origin: str | None = None) -> list[tuple[str, Path]]:
    """Format and place of the SAE at `path`, or of all below it, in the order of their names."""
    names = [origin] if origin else list(FORMATS)
    places = [path]
    if not any(FORMATS[name].recognises(path) for name in names):
        places = sorted(place for place in path.rglob("*") if place.is_dir())
    found = [(name, place) for place in places for name in names if FORMATS[name].recognises(place)]
    if not found:
        raise UserError(f"{path} holds no SAE in the format of {' or '.join(names)}")
    return found


def _check_free(place: Path) -> None:
    if place.exists() and (not place.is_dir() or any(place.iterdir())):
        raise UserError(f"{place} is there already: give another place, or take it away")


def _check_beside(source: Path) -> None:
    """Raises UserError before anything is written, if what would be copied beside an SAE is damaged."""
    for path in (source / name for name in BESIDE):
        if path.is_file() and path.suffix == ".json":
            read_json(path)
        elif path.is_file() and path.suffix == ".safetensors":
            read_safetensors(path)


def _copy_beside(source: Path, place: Path) -> None:
    """What is known of an SAE besides its weights, where its source is a folder that has it."""
    for name in BESIDE:
        if (source / name).is_file():
            shutil.copyfile(source / name, place / name)
