"""`headrace features export`: a run's features in the formats of other viewers.

Labels and tags go along: as explanations where the format has them (Neuronpedia), else as the file that they are.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

from cluster.workbench import Workbench
from features.explanations import Explanations
from features.export_subject import ExportSubject
from features.labels import FILE, Label, Labels
from features.neuronpedia_export import export_neuronpedia, neuronpedia_folder
from features.openai_export import export_openai, openai_folder
from features.saedashboard_export import export_saedashboard, saedashboard_folder
from features.store import FeatureStore, open_stores
from shared.errors import UserError
from shared.files import is_free
from trainers.hook_names import BLOCK, transformer_lens_name

FOLDERS = {"saedashboard": saedashboard_folder, "neuronpedia": neuronpedia_folder, "openai": openai_folder}
"""Of an SAE's features, by format."""


def export_features(run_folder: Path, to: str, out: Path, names: Sequence[str], latents: Sequence[int]) -> list[Path]:
    """Writes the features of the SAEs called `names`, or all; of `latents`, or all. Gives the folders written.

    Raises:
        UserError: nothing has been collected for one of them, it has no such latent, `out` is a file, or something is
            where an SAE's features would go; then nothing is written.
    """
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file; give a folder for what is exported")
    bench, places = Workbench.open(run_folder), dict[Path, ExportSubject]()
    for store in open_stores(run_folder, names).values():
        size, subject = store.meta.num_latents, _subject(bench, store)
        for latent in latents:
            if not 0 <= latent < size:
                raise UserError(f"{store.meta.trainer} has latents 0 to {size - 1}, got --latent {latent}")
        place = out / FOLDERS[to](subject)
        if not is_free(place):
            raise UserError(f"{place} is not an empty folder; delete what was exported there, or give another OUT")
        places[place] = subject
    for place, subject in places.items():
        _write(to, subject, sorted(set(latents)) or range(subject.store.meta.num_latents), place)
    return list(places)


def _write(to: str, subject: ExportSubject, latents: Sequence[int], place: Path) -> None:
    folder = subject.store.folder
    if to == "neuronpedia":
        export_neuronpedia(subject, latents, _said(folder), place)
        return
    export = export_saedashboard if to == "saedashboard" else export_openai
    export(subject, latents, place)
    if (folder / FILE).is_file():
        shutil.copyfile(folder / FILE, place / FILE)


def _subject(bench: Workbench, store: FeatureStore) -> ExportSubject:
    hookpoint = store.meta.inputs[0]
    block = BLOCK.match(hookpoint)
    return ExportSubject(
        store=store,
        tokens=bench.vocabulary,
        model_id=_model_id(store.meta.model),
        layer=int(block[1]) if block else 0,
        hook_name=transformer_lens_name(hookpoint) or hookpoint,
        sae_set=f"headrace-{store.meta.job}",
    )


def _model_id(model: str) -> str:
    """The last part of a hub's id or a path, but not a folder that is only called `model`."""
    parts = [part for part in model.rstrip("/").split("/") if part not in ("", "model", ".", "..")]
    return parts[-1] if parts else "model"


def _said(folder: Path) -> dict[int, list[tuple[str, str]]]:
    """What each latent is said to mean, labels first, and by whom; their tags stand with the author."""
    said = {latent: [_words(one)] for latent, one in Labels(folder).all().items()}
    for latent, explanations in Explanations(folder).all().items():
        said.setdefault(latent, []).extend((one.text, one.source) for one in explanations)
    return said


def _words(label: Label) -> tuple[str, str]:
    tags = ", ".join(label.tags)
    return label.text or tags, " · ".join(part for part in (label.author, tags) if part)
