"""`headrace compare` and `plan` on SAEs that were trained: a tiny model's rows, four sizes, three sparsities."""

import json
from pathlib import Path

import pytest
from trained_run import HOOKPOINT, make_job, train_run

from cluster.exit_code import exit_code
from cluster.run_evaluation import evaluate_run
from cluster.run_plan import forward_flops
from shared.active_configs import TopKConfig
from shared.config import Job
from trainers.scaling_law import FORMS

SIZES, KS = (16, 32, 64, 128), (1, 2, 4)


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    job = make_job(tmp_path_factory.mktemp("compared"))
    keys = {"architecture": "topk", "batch_rows": 32, "lr": 0.01, "lr_decay_fraction": 0.2, "k_anneal_fraction": 0.3}
    trainers = [
        TopKConfig.model_validate({"name": f"topk-{size}-k{k}", "num_latents": size, "k": k, **keys})
        for size in SIZES
        for k in KS
    ]
    return job.model_copy(update={"trainers": tuple(trainers)})


@pytest.fixture(scope="module")
def run(job: Job) -> Path:
    folder = train_run(job)
    evaluate_run(folder, job, contexts=20)
    return folder


def test_fronts_matches_and_laws_are_those_of_the_saes(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(["compare", str(run), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    (site,) = facts["sites"]
    saes = {one["name"]: one for one in site["saes"]}
    assert len(saes) == 12 and all("begin with the same directions" in note for note in facts["notes"])
    for k in KS:
        fvus = [saes[f"topk-{size}-k{k}"]["fvu"] for size in SIZES]
        assert fvus[-1] < fvus[0], "more latents reconstruct better"
    assert saes["topk-128-k4"]["fvu"] < saes["topk-128-k1"]["fvu"], "and so do more active ones"
    front = [one for one in site["saes"] if one["on_fvu_front"]]
    for one in site["saes"]:
        beaten = any(other["fvu"] < one["fvu"] and other["l0"] <= one["l0"] for other in site["saes"])
        assert (one in front) == (not beaten)
    assert all(isinstance(one["ce_delta"], float) for one in site["saes"])
    assert len(site["pairs"]) == len(KS) * 6
    alike = {(pair["first"], pair["second"]): pair["from_first"]["mmcs"] for pair in site["pairs"]}
    assert all(0 < mmcs <= 1 for mmcs in alike.values()) and alike["topk-64-k1", "topk-128-k1"] > 0.4
    assert {"latents", "joint"} <= {law["name"] for law in site["laws"]}
    assert (run / "compare" / "compare.html").stat().st_size > 100_000


def test_the_table_names_every_sae(run: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert exit_code(["compare", str(run), "--match", "none", "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert f"{HOOKPOINT} of " in printed and all(f"topk-{size}-k{k}" in printed for size in SIZES for k in KS)


def test_a_plan_counts_the_models_own_forward(run: Path, job: Job, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(["plan", "--compute", "1e10", "--run", str(run), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert {one["sparsity"] for one in facts["advice"]} == {f"k={k}" for k in KS}
    for one in facts["advice"]:
        assert one["flops_per_token"]["model"] == forward_flops(job.model, job.corpus.context_tokens) > 0
        assert one["num_latents"] >= 64 and one["law"]["name"] == "latents" and not one["knows_tokens"]
        spent = one["flops_per_token"]["all"] * one["tokens"]
        assert spent <= 1e10 * 1.01


def test_the_documentation_has_every_law_as_it_is_fitted() -> None:
    page = (Path(__file__).parents[2] / "docs" / "comparing.md").read_text(encoding="utf-8")
    for form in FORMS.values():
        assert f"| `{form.name}` |" in page
        assert form.formula in page or form.name == "joint-tokens", form.name
        assert all(f"{least} " in page for least in (form.min_points, *form.needs.values()))
