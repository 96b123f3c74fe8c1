"""Features in other viewers' formats, held against schemas of what those read."""

import gzip
import json
import shutil
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from planted_run import planted_run

from cluster.exit_code import exit_code
from features.histogram import EDGES
from features.labels import Labels
from features.linear_bins import in_equal_bins
from features.store import FeatureStore

STRINGS, NUMBERS, INTEGERS = ({"type": "array", "items": {"type": kind}} for kind in ("string", "number", "integer"))
NULL_OR_STRING = {"type": ["string", "null"]}


def record(**properties: Any) -> dict[str, Any]:
    """All of these keys and no others."""
    return {"type": "object", "properties": properties, "required": [*properties], "additionalProperties": False}


TABLES = {
    **{f"neuron_alignment_{part}": NUMBERS for part in ("indices", "values", "l1")},
    **{f"correlated_{who}_{part}": NUMBERS for who in ("neurons", "features") for part in ("indices", "l1", "pearson")},
    **{f"{side}_str": STRINGS for side in ("neg", "pos")},
    **{f"{side}_values": NUMBERS for side in ("neg", "pos")},
    "frac_nonzero": {"type": "number", "minimum": 0, "maximum": 1},
    **{f"{kind}_hist_data_bar_{part}": NUMBERS for kind in ("freq", "logits") for part in ("heights", "values")},
    "decoder_weights_dist": NUMBERS,
    "vector": NUMBERS,
}
DASHBOARD = record(
    model_id={"type": "string"},
    layer={"type": "integer"},
    sae_set={"type": "string"},
    sae_id_suffix=NULL_OR_STRING,
    features={
        "type": "array",
        "minItems": 1,
        "items": record(
            feature_index={"type": "integer"},
            **TABLES,
            n_prompts_total={"type": "integer"},
            n_tokens_in_prompt={"type": "integer"},
            dataset={"type": "string"},
            activations={
                "type": "array",
                "minItems": 1,
                "items": record(
                    bin_min={"type": "number"},
                    bin_max={"type": "number"},
                    bin_contains={"type": "number", "minimum": -1, "maximum": 1},
                    tokens=STRINGS,
                    values=NUMBERS,
                    qualifying_token_index={"type": "integer"},
                ),
            },
        ),
    },
)
SEQUENCE = record(
    density={"type": "number"},
    doc_id={"type": "integer"},
    idx={"type": "integer"},
    act={"type": "number"},
    acts=NUMBERS,
    tokens=STRINGS,
    token_ints=INTEGERS,
)
OPENAI = record(
    density={"type": "number"},
    mean_act={"type": "number"},
    mean_act_squared={"type": "number"},
    skew={"type": "number"},
    kurtosis={"type": "number"},
    hist={"type": "object", "patternProperties": {r"^\d+$": {"type": "integer"}}, "additionalProperties": False},
    random={"type": "array", "items": SEQUENCE},
    top={"type": "array", "items": SEQUENCE},
)
ADDRESS = {"modelId": {"type": "string"}, "layer": {"type": "string"}, "index": {"type": ["string", "integer"]}}
NEURON = record(
    **ADDRESS,
    creatorId={"type": "string"},
    createdAt={"type": "string"},
    maxActApprox={"type": "number"},
    hasVector={"type": "boolean"},
    vectorLabel=NULL_OR_STRING,
    vectorDefaultSteerStrength={"type": "number"},
    hookName={"type": "string"},
    topkCosSimIndices=INTEGERS,
    topkCosSimValues=NUMBERS,
    sourceSetName={"type": "string"},
    **TABLES,
)
ACTIVATION = record(
    id={"type": "string"},
    tokens=STRINGS,
    **ADDRESS,
    maxValue={"type": "number"},
    maxValueTokenIndex={"type": "integer"},
    minValue={"type": "number"},
    values=NUMBERS,
    creatorId={"type": "string"},
    dataSource=NULL_OR_STRING,
    dataIndex=NULL_OR_STRING,
    dfaValues=NUMBERS,
    dfaTargetIndex={"type": ["integer", "null"]},
    dfaMaxValue={"type": ["number", "null"]},
    createdAt={"type": "string"},
    lossValues=NUMBERS,
    logitContributions=NULL_OR_STRING,
    binMin={"type": "number"},
    binMax={"type": "number"},
    binContains={"type": "number"},
    qualifyingTokenIndex={"type": "integer"},
    zIndices={"type": "null"},
    zValues={"type": "null"},
)
EXPLANATION = record(
    id={"type": "string"},
    **ADDRESS,
    description={"type": "string"},
    authorId={"type": "string"},
    embedding={"type": "null"},
    triggeredById={"type": "null"},
    typeName=NULL_OR_STRING,
    explanationModelName=NULL_OR_STRING,
    notes=NULL_OR_STRING,
    createdAt={"type": "string"},
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = planted_run(tmp_path_factory.mktemp("exported"))
    options = ["--sae", "planted", "--top", "4", "--window", "12", "--silent", "10"]
    assert exit_code(["features", "collect", str(run), *options]) == 0
    labels = Labels(run / "features" / "planted")
    labels.add(1, "tokens with a d", ["safety:none", "letters"], "me")
    labels.add(2, "", ["safety:bias"])
    return run


@pytest.fixture(scope="module")
def store(run: Path) -> FeatureStore:
    return FeatureStore.open(run / "features" / "planted")


def lines(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def test_saedashboard_gets_each_latent_that_fired(run: Path, store: FeatureStore, tmp_path: Path) -> None:
    assert exit_code(["features", "export", str(run), str(tmp_path), "--to", "saedashboard"]) == 0
    (folder,) = (tmp_path / "planted").iterdir()
    batch = json.loads((folder / "batch-0.json").read_text())
    jsonschema.validate(batch, DASHBOARD)
    assert [one["feature_index"] for one in batch["features"]] == [0, 1, 2]
    assert json.loads((folder / "skipped_indexes.json").read_text())["skipped_indexes"] == list(range(3, 12))
    for one in batch["features"]:
        record = store.record(one["feature_index"])
        assert sum(one["freq_hist_data_bar_heights"]) == record.fired
        ranges = {act["bin_min"]: act["bin_contains"] for act in one["activations"] if act["bin_min"] >= 0}
        assert sum(ranges.values()) == pytest.approx(1)
        for act in one["activations"]:
            strongest = act["values"][act["qualifying_token_index"]]
            assert strongest == max(act["values"]) <= act["bin_max"] + 1e-5
            assert act["bin_min"] <= strongest + 1e-5


def test_openai_gets_a_file_for_each_latent(run: Path, store: FeatureStore, tmp_path: Path) -> None:
    options = ["--to", "openai", "--latent", "0", "--latent", "5"]
    assert exit_code(["features", "export", str(run), str(tmp_path), *options]) == 0
    files = {path.stem: json.loads(path.read_text()) for path in tmp_path.rglob("atoms/*.json")}
    assert set(files) == {"0", "5"}
    for found in files.values():
        jsonschema.validate(found, OPENAI)
    assert len(files["0"]["top"]) == 4 and sum(files["0"]["hist"].values()) == store.record(0).fired
    assert files["5"]["top"] == [] and files["5"]["hist"] == {}


@pytest.mark.parametrize("to", ["saedashboard", "openai"])
def test_labels_lie_beside_where_the_format_has_no_place_for_them(to: str, run: Path, tmp_path: Path) -> None:
    assert exit_code(["features", "export", str(run), str(tmp_path), "--to", to, "--sae", "planted"]) == 0
    (found,) = tmp_path.rglob("labels.jsonl")
    assert Labels(found.parent).all() == Labels(run / "features" / "planted").all()


def test_neuronpedia_gets_its_layout(run: Path, store: FeatureStore, tmp_path: Path) -> None:
    assert exit_code(["features", "export", str(run), str(tmp_path), "--to", "neuronpedia"]) == 0
    (folder,) = (path.parent for path in tmp_path.rglob("source.jsonl"))
    neurons = lines(folder / "features" / "batch-0.jsonl.gz")
    activations = lines(folder / "activations" / "batch-0.jsonl.gz")
    said = lines(folder / "explanations" / "batch-0.jsonl.gz")
    for schema, rows in ((NEURON, neurons), (ACTIVATION, activations), (EXPLANATION, said)):
        for row in rows:
            jsonschema.validate(row, schema)
    assert len(neurons) == 12 and len({one["id"] for one in activations}) == len(activations)
    assert [(one["index"], one["description"], one["notes"]) for one in said] == [
        ("1", "tokens with a d", "me · safety:none, letters"),
        ("2", "safety:bias", "safety:bias"),
    ]
    source, release = (json.loads((folder / f"{name}.jsonl").read_text()) for name in ("source", "release"))
    assert {one["layer"] for one in neurons} == {source["id"]} == {folder.name}
    assert release["defaultSourceId"] == source["id"] and source["num_prompts"] == store.meta.contexts


def test_what_cannot_be_exported_is_a_sentence(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(["features", "export", str(run), str(tmp_path), "--to", "nope"]) == 2
    assert "--to must be one of saedashboard, neuronpedia, openai" in capsys.readouterr().err
    assert exit_code(["features", "export", str(run), str(tmp_path), "--to", "openai", "--latent", "12"]) == 2
    assert "planted has latents 0 to 11, got --latent 12" in capsys.readouterr().err


@pytest.mark.parametrize("to", ["saedashboard", "neuronpedia", "openai"])
def test_an_export_is_not_mixed_with_what_is_there(
    to: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "notes.md").write_text("mine")
    words = ["features", "export", str(run), str(tmp_path), "--to", to]
    assert exit_code([*words, "--latent", "0", "--latent", "5"]) == 0
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    capsys.readouterr()
    assert exit_code([*words, "--latent", "1"]) == 2
    assert "is not an empty folder; delete what was exported there, or give another OUT" in _said(capsys)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_two_saes_do_not_share_a_folder(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    twin = tmp_path / "run"
    shutil.copytree(run, twin)
    shutil.copytree(twin / "features" / "planted", twin / "features" / "twin")
    meta = twin / "features" / "twin" / "meta.json"
    meta.write_text(json.dumps({**json.loads(meta.read_text()), "trainer": "twin"}))
    words = ["features", "export", str(twin), str(tmp_path / "out"), "--to"]
    assert exit_code([*words, "saedashboard"]) == 0
    assert len(list((tmp_path / "out").rglob("batch-0.json"))) == 2
    assert exit_code([*words, "openai"]) == 0 and len(capsys.readouterr().out.splitlines()) >= 2
    assert len(list((tmp_path / "out").rglob("atoms"))) == 2


def _said(capsys: pytest.CaptureFixture[str]) -> str:
    return " ".join(capsys.readouterr().err.split())


def test_a_file_is_no_place_for_an_export(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "notes.md").write_text("mine")
    assert exit_code(["features", "export", str(run), str(tmp_path / "notes.md"), "--to", "openai"]) == 2
    assert "notes.md is a file; give a folder" in capsys.readouterr().err
    assert (tmp_path / "notes.md").read_text() == "mine"


def test_equal_bins_hold_every_activation_once() -> None:
    acts = np.random.default_rng(0).exponential(size=5000)
    edges = np.array(EDGES)
    counts = np.histogram(acts, edges)[0]
    steps = np.linspace(0, acts.max(), 41)
    found = in_equal_bins(counts, edges, acts.max(), steps)
    assert found.sum() == 5000 and np.abs(found - np.histogram(acts, steps)[0]).max() < 120
    assert in_equal_bins(counts * 0, edges, 0.0, steps).sum() == 0
