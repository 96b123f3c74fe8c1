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
from features.neuronpedia_export import export_neuronpedia
from features.openai_export import export_openai
from features.saedashboard_export import export_saedashboard
from features.store import FeatureStore, open_stores
from shared.errors import UserError
from trainers.hook_names import BLOCK, transformer_lens_name


def export_features(run_folder: Path, to: str, out: Path, names: Sequence[str], latents: Sequence[int]) -> list[Path]:
    """Writes the features of the SAEs called `names`, or all; of `latents`, or all. Gives the folders written.

    Raises:
        UserError: nothing has been collected for one of them, it has no such latent, or `out` is a file.
    """
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file; give a folder for what is exported")
    bench, folders = Workbench.open(run_folder), []
    for store in open_stores(run_folder, names).values():
        size = store.meta.num_latents
        for latent in latents:
            if not 0 <= latent < size:
                raise UserError(f"{store.meta.trainer} has latents 0 to {size - 1}, got --latent {latent}")
        chosen, subject = sorted(set(latents)) or range(size), _subject(bench, store)
        if to == "neuronpedia":
            folders.append(export_neuronpedia(subject, chosen, _said(store.folder), out))
        else:
            export = export_saedashboard if to == "saedashboard" else export_openai
            folders.append(export(subject, chosen, out))
            if (store.folder / FILE).is_file():
                shutil.copyfile(store.folder / FILE, folders[-1] / FILE)
    return folders


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
