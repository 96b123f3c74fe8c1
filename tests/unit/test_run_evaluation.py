"""`headrace evaluate` on run folders: which SAEs, on which text, what is written, what is refused."""

import json
from pathlib import Path

import pytest
import torch
from trained_run import BLOCK, HOOKPOINT, make_job, train_run

from cluster.exit_code import exit_code
from cluster.run_evaluation import evaluate_run
from shared.config import Job
from shared.errors import UserError
from trainers import load_sae


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    job = make_job(tmp_path_factory.mktemp("evaluated"))
    train_run(job)
    return job


@pytest.fixture
def run(job: Job) -> Path:
    folder = Path(job.output)
    for path in folder.glob("saes/*/evaluation.json"):
        path.unlink()
    return folder


def changed(job: Job, **evaluation: object) -> Job:
    return job.model_copy(update={"evaluation": job.evaluation.model_copy(update=evaluation)})


def test_every_sae_gets_its_evaluation_beside_it(job: Job, run: Path) -> None:
    result = evaluate_run(run, job)
    assert [one["name"] for one in result.found] == ["wide", "narrow"] and result.checkpoint is None
    for one in result.found:
        assert json.loads((run / "saes" / one["name"] / "evaluation.json").read_text()) == json.loads(json.dumps(one))
        assert "## Quality on held-out text" in (run / "saes" / one["name"] / "README.md").read_text()
        assert one["targets"] == (HOOKPOINT,) and one["contexts"] > 10 and one["l0"] <= 4
        assert len(one["fvu_by_dimension"]) == 16 and sum(one["density"]["counts"]) + one["density"]["never"] > 20
        assert one["splice"]["kl_spliced"] < one["splice"]["kl_zero"]
    wide, narrow = result.found
    assert wide["fvu"] < narrow["fvu"] < 1 and wide["splice"]["ce_clean"] == narrow["splice"]["ce_clean"]
    assert wide["held_out_contexts"] == pytest.approx(wide["contexts"], rel=0.5)


def test_one_sae_and_fewer_contexts_may_be_chosen(job: Job, run: Path) -> None:
    (one,) = evaluate_run(run, job, names=["narrow"], contexts=5).found
    assert (one["name"], one["contexts"]) == ("narrow", 5)
    assert not (run / "saes" / "wide" / "evaluation.json").exists()


def test_a_run_without_a_finished_sae_is_measured_as_of_its_checkpoint_and_nothing_is_written(
    job: Job, run: Path, tmp_path: Path
) -> None:
    (tmp_path / "checkpoints").symlink_to(run / "checkpoints")
    result = evaluate_run(tmp_path, job)
    assert result.checkpoint == BLOCK
    finished = {one["name"]: one for one in evaluate_run(run, job).found}
    for one in result.found:
        assert one["fvu"] == pytest.approx(finished[one["name"]]["fvu"], rel=1e-5)
    assert list(tmp_path.iterdir()) == [tmp_path / "checkpoints"]


def test_the_command_prints_a_table_or_json(job: Job, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(["evaluate", str(run), "--contexts", "9"]) == 0
    shown = capsys.readouterr().out
    assert "tiny  9 held-out contexts" in shown and "ΔCE" in shown and "recovered" in shown
    assert (run / "report.html").is_file()
    assert exit_code(["evaluate", str(run), "--contexts", "9", "--sae", "wide", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert found == json.loads((run / "saes" / "wide" / "evaluation.json").read_text())


def test_what_cannot_be_measured_is_a_sentence(
    job: Job, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code(["evaluate", str(run), "--sae", "nope"]) == 2
    assert "has no SAE named nope; it has wide, narrow" in capsys.readouterr().err
    with pytest.raises(UserError, match="has no SAE yet, and no complete checkpoint"):
        evaluate_run(tmp_path, job)
    with pytest.raises(UserError, match=r"the run tiny has no text to evaluate on: evaluation\.holdout is 0"):
        evaluate_run(run, changed(job, holdout=0.0))
    with pytest.raises(UserError, match=r"has no text to evaluate on: no text is held out, since the corpus has no"):
        evaluate_run(run, changed(job, holdout=0.001))


def test_text_that_an_sae_may_have_read_is_refused(job: Job, run: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="which may have read what is held out now"):
        evaluate_run(run, changed(job, holdout=0.3))
    with pytest.raises(UserError, match=r"evaluation\.holdout is not what it was when wide was trained"):
        evaluate_run(run, job.model_copy(update={"seed": 5}))
    folder = tmp_path / "saes" / "wide"
    folder.mkdir(parents=True)
    for name in ("cfg.json", "sae_weights.safetensors"):
        (folder / name).write_bytes((run / "saes" / "wide" / name).read_bytes())
    config = json.loads((folder / "cfg.json").read_text())
    del config["metadata"]["headrace"]["corpus_fingerprint"]
    (folder / "cfg.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="wide does not say which text it has not read"):
        evaluate_run(tmp_path, job)


def test_measuring_changes_no_weight(job: Job, run: Path) -> None:
    before = load_sae(run / "saes" / "wide").state_dict()
    evaluate_run(run, job, contexts=4)
    after = load_sae(run / "saes" / "wide").state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
