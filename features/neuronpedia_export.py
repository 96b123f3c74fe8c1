"""Features in the layout that Neuronpedia imports in bulk (hijohnnylin/neuronpedia ebb8426f, 2026-08).

    {model_id}/{source_id}/release.jsonl model.jsonl sourceset.jsonl source.jsonl
                           features/batch-N.jsonl.gz  activations/batch-N.jsonl.gz  explanations/batch-N.jsonl.gz

Its importer takes the columns from a file's first line, so every key is on every line.
"""

import gzip
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from features.context import Context
from features.export_subject import ExportSubject
from features.saedashboard_export import BATCH_LATENTS, dashboard_feature, interval, rounded
from features.store import LatentRecord

CREATOR = "clkht01d40000jv08hvalcvly"
"""The user that its importer falls back to; rows of others are refused."""
GZIP_LEVEL = 5
STEER_STRENGTH = 10.0
"""By default, of a latent without a vector."""


def neuronpedia_folder(subject: ExportSubject) -> Path:
    """`{model_id}/{source_id}`."""
    return Path(subject.model_id, source_id(subject))


def export_neuronpedia(
    subject: ExportSubject, latents: Sequence[int], texts: Mapping[int, Sequence[tuple[str, str]]], folder: Path
) -> None:
    """Writes one source into `folder`; `texts` are (text, author) of what latents are said to mean."""
    now = datetime.now(UTC).isoformat()
    folder.mkdir(parents=True, exist_ok=True)
    for name, row in _heads(subject, now).items():
        (folder / f"{name}.jsonl").write_text(_line(row))
    for number in sorted({latent // BATCH_LATENTS for latent in latents}):
        batch = [one for one in latents if one // BATCH_LATENTS == number]
        _write(folder / "features" / f"batch-{number}.jsonl.gz", (_feature(subject, one, now) for one in batch))
        _write(folder / "activations" / f"batch-{number}.jsonl.gz", _activations(subject, batch, now))
        told = [(one, place, *words) for one in batch for place, words in enumerate(texts.get(one, ()))]
        said = [_explanation(subject, *words, now) for words in told]
        if said:
            _write(folder / "explanations" / f"batch-{number}.jsonl.gz", said)


def source_id(subject: ExportSubject) -> str:
    """`8-headrace-gpt2-sizes__topk-16384`."""
    return f"{subject.layer}-{subject.sae_set}__{subject.store.meta.trainer}"


def _feature(subject: ExportSubject, latent: int, now: str) -> dict[str, Any]:
    record, shown = subject.store.record(latent), dashboard_feature(subject, latent)
    left_out = ("feature_index", "activations", "n_prompts_total", "n_tokens_in_prompt", "dataset")
    return {
        **_address(subject, latent),
        "creatorId": CREATOR,
        "createdAt": now,
        "maxActApprox": record.max_act,
        "hasVector": False,
        "vectorLabel": None,
        "vectorDefaultSteerStrength": STEER_STRENGTH,
        "hookName": subject.hook_name,
        "topkCosSimIndices": record.nearest_ids.tolist(),
        "topkCosSimValues": rounded(record.nearest_cosines),
        "sourceSetName": subject.sae_set,
        **{key: value for key, value in shown.items() if key not in left_out},
    }


def _activations(subject: ExportSubject, latents: Iterable[int], now: str) -> Iterable[dict[str, Any]]:
    for latent in latents:
        record = subject.store.record(latent)
        for place, context in enumerate(subject.store.contexts(latent)):
            yield _activation(subject, latent, place, context, record, now)


def _activation(
    subject: ExportSubject, latent: int, place: int, context: Context, record: LatentRecord, now: str
) -> dict[str, Any]:
    lower, upper, share = interval(subject, context, record)
    strongest = int(context.acts.argmax())
    return {
        "id": f"{subject.model_id}-{source_id(subject)}-{latent}-{place}",
        "tokens": subject.read(context.tokens),
        **_address(subject, latent),
        "maxValue": round(float(context.max_act), 5),
        "maxValueTokenIndex": strongest,
        "minValue": round(float(context.acts.min()), 5),
        "values": rounded(context.acts),
        "creatorId": CREATOR,
        "dataSource": subject.store.meta.source,
        "dataIndex": str(context.document),
        "dfaValues": [],
        "dfaTargetIndex": None,
        "dfaMaxValue": None,
        "createdAt": now,
        "lossValues": [],
        "logitContributions": None,
        "binMin": lower,
        "binMax": upper,
        "binContains": share,
        "qualifyingTokenIndex": context.position - context.start,
        "zIndices": None,
        "zValues": None,
    }


def _explanation(subject: ExportSubject, latent: int, place: int, text: str, author: str, now: str) -> dict[str, Any]:
    return {
        "id": f"{subject.model_id}-{source_id(subject)}-{latent}-explanation-{place}",
        **_address(subject, latent),
        "description": text,
        "authorId": CREATOR,
        "embedding": None,
        "triggeredById": None,
        "typeName": None,
        "explanationModelName": None,
        "notes": author,
        "createdAt": now,
    }


def _address(subject: ExportSubject, latent: int) -> dict[str, Any]:
    """The key of a Neuron row."""
    return {"modelId": subject.model_id, "layer": source_id(subject), "index": str(latent)}


def _heads(subject: ExportSubject, now: str) -> dict[str, dict[str, Any]]:
    """The four rows that say what the features are of."""
    meta, name = subject.store.meta, subject.sae_set
    shared = {"creatorId": CREATOR, "visibility": "PUBLIC", "createdAt": now}
    release = {
        "name": name,
        "description": f"SAEs of {meta.model}, trained by Headrace",
        "creatorName": "Headrace",
        "isNewUi": True,
        "featured": False,
        "descriptionShort": name,
        "urls": [],
        "creatorEmail": None,
        "creatorNameShort": "Headrace",
        "defaultSourceSetName": name,
        "defaultSourceId": source_id(subject),
        "defaultUmapSourceIds": [],
    }
    model = {
        "id": subject.model_id,
        "instruct": False,
        "displayNameShort": subject.model_id,
        "displayName": meta.model,
        "tlensId": None,
        "dimension": None,
        "defaultSourceSetName": name,
        "defaultSourceId": source_id(subject),
        "inferenceEnabled": False,
        "layers": subject.layer + 1,
        "neuronsPerLayer": 0,
        "owner": "",
        "updatedAt": now,
        "website": None,
    }
    sourceset = {
        "modelId": subject.model_id,
        "name": name,
        "hasDashboards": True,
        "description": f"Job {meta.job}",
        "type": meta.architecture,
        "creatorName": "Headrace",
        "urls": [],
        "creatorEmail": None,
        "releaseName": name,
        "defaultOfModelId": None,
        "defaultRange": 1,
        "defaultShowBreaks": True,
        "showDfa": False,
        "showCorrelated": False,
        "showHeadAttribution": False,
        "showUmap": False,
    }
    source = {
        "id": source_id(subject),
        "modelId": subject.model_id,
        "setName": name,
        "hasDashboards": True,
        "inferenceEnabled": False,
        "inferenceHosts": [],
        "saelensConfig": None,
        "saelensRelease": None,
        "saelensSaeId": None,
        "hfRepoId": None,
        "hfFolderId": None,
        "defaultOfModelId": None,
        "hasUmap": False,
        "hasUmapLogSparsity": False,
        "hasUmapClusters": False,
        "num_prompts": meta.contexts,
        "num_tokens_in_prompt": meta.context_tokens,
        "dataset": meta.source,
        "notes": None,
    }
    heads = {"release": release, "model": model, "sourceset": sourceset, "source": source}
    return {key: {**row, **shared} for key, row in heads.items()}


def _write(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    path.parent.mkdir(exist_ok=True)
    with gzip.open(path, "wt", GZIP_LEVEL, encoding="utf-8") as file:
        file.writelines(map(_line, rows))


def _line(row: dict[str, Any]) -> str:
    return json.dumps(row, allow_nan=False, default=_plain) + "\n"


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value)} is not JSON")
