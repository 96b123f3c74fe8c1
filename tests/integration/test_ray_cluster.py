"""Headrace on a Ray cluster as its users have it: a token, two CPUs, jobs that are submitted, stopped, resumed."""

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cluster.job_place import find_job
from shared.job_state import JobState
from shared.registry_snapshot import Snapshot
from tests.integration.ray_cluster import ROOT, RayCluster, Series, copy_checkout, ray_start_head

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
TWO_TRAINERS = ("trainers.0.num_latents=512",)
SHORT = ("stream.buffer_rows=8192", "stream.block_rows=2048", "checkpoint.every_blocks=10")
STAGES = {
    "ray_headrace_producer_rows_per_s": {"producer-0"},
    "ray_headrace_lane_rows_per_s": {"lane-0"},
    "ray_headrace_lane_resident": {"lane-0"},
    "ray_headrace_lane_log_bytes": {"lane-0"},
    "ray_headrace_lane_next_block": {"lane-0"},
    "ray_headrace_trainer_rows_per_s": {"trainer-topk-512", "trainer-relu-1024"},
    "ray_headrace_trainer_lag_blocks": {"trainer-topk-512", "trainer-relu-1024"},
    "ray_headrace_job_blocks": {"job"},
}


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    with ray_start_head() as cluster:
        yield cluster


def test_plain_ray_job_is_stopped_saved_and_goes_on_exactly(cluster: RayCluster, tmp_path: Path) -> None:
    checkout, run_folder = copy_checkout(tmp_path), cluster.home / "headrace" / "runs" / "demo"
    ray = {"RAY_AUTH_MODE": "token", "RAY_API_SERVER_ADDRESS": cluster.dashboard}
    series = Series(cluster.metrics)
    command = ("python", "-m", "cluster", "run", "examples/demo.yaml", "tokens=300_000", *TWO_TRAINERS, *SHORT)
    submit = ("ray", "job", "submit", "--no-wait", "--submission-id=demo", "--working-dir=.", "--", *command)
    done = cluster.call(*submit, cwd=checkout, **ray)
    assert done.returncode == 0, done.stdout + done.stderr
    _await(run_folder, lambda snapshot: snapshot.job.checkpoint is not None and snapshot.job.state is JobState.RUNNING)

    listed = cluster.call("ray", "job", "stop", "demo", cwd=checkout, **ray)
    logs = cluster.call("ray", "job", "logs", "demo", cwd=checkout, **ray).stdout
    assert "was stopped" in listed.stdout + listed.stderr
    stopped = _snapshot(run_folder)
    assert stopped.job.state is JobState.STOPPED, logs
    assert f"saved; go on with: headrace resume {run_folder}" in logs
    assert (run_folder / "checkpoints" / str(stopped.job.checkpoint) / "manifest.json").is_file()
    assert not (run_folder / "saes").exists(), "the job ended before it was stopped: give it more tokens"

    done = cluster.headrace("resume", str(run_folder), cwd=checkout, PYTHONPATH="", RAY_ADDRESS=cluster.gcs)
    series.close()
    assert done.returncode == 0, done.stdout + done.stderr
    finished = _snapshot(run_folder)
    assert finished.job.state is JobState.FINISHED
    assert {one.name for one in (run_folder / "saes").iterdir()} == {"topk-512", "relu-1024"}
    assert {one.rows for one in finished.trainers.values()} == {300_000}
    assert len({one.bits_digest for one in finished.trainers.values()}) == 1
    for name, roles in STAGES.items():
        assert roles <= set(series.of(name)), name
    assert max(series.of("ray_headrace_trainer_tokens").values()) > 0


def test_submit_needs_only_the_job_file_and_what_it_names(cluster: RayCluster, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "examples" / "demo_lm" / "model", tmp_path / "model")
    shutil.copy(ROOT / "examples" / "demo.yaml", tmp_path)
    changes = (
        "name=mine",
        "output=runs/mine",
        "model.name=model",
        "tokens=20_000",
        *TWO_TRAINERS,
        *SHORT,
    )

    done = cluster.headrace("submit", "demo.yaml", *changes, "--address", cluster.dashboard, cwd=tmp_path)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "100%" in done.stdout and "next:" in done.stdout
    assert "INFO" not in done.stderr
    assert {one.name for one in (tmp_path / "runs" / "mine" / "saes").iterdir()} == {"topk-512", "relu-1024"}


def test_actors_have_names_that_read_well(cluster: RayCluster) -> None:
    listed = cluster.call(
        "ray", "list", "actors", "--detail", f"--address={cluster.dashboard}", cwd=cluster.home, RAY_AUTH_MODE="token"
    )
    for name, words in {
        "lane-0": "Lane(0)",
        "producer-0": "Producer(0)",
        "trainer-topk-512": "Trainer(topk-512)",
    }.items():
        assert f"name: {name}\n" in listed.stdout and f"repr_name: {words}\n" in listed.stdout, listed.stdout


@pytest.mark.parametrize(
    ("words", "variables", "sentence"),
    [
        (("run",), {"RAY_ADDRESS": "GCS", "HOME": "/nonexistent"}, "asks for a token: set RAY_AUTH_MODE=token"),
        (("run",), {"RAY_ADDRESS": "127.0.0.1:9"}, "no Ray cluster answers at 127.0.0.1:9"),
        (("submit", "--address=DASHBOARD"), {"RAY_AUTH_TOKEN": "x" * 64}, "refuses the token from RAY_AUTH_TOKEN"),
    ],
)
def test_a_closed_door_is_one_sentence(
    cluster: RayCluster, tmp_path: Path, words: tuple[str, ...], variables: dict[str, str], sentence: str
) -> None:
    known = {"GCS": cluster.gcs, "DASHBOARD": cluster.dashboard}
    shutil.copy(ROOT / "examples" / "demo.yaml", tmp_path)
    filled = [word.replace("DASHBOARD", cluster.dashboard) for word in words]
    variables = {key: known.get(value, value) for key, value in variables.items()}

    done = cluster.headrace(filled[0], "demo.yaml", *filled[1:], cwd=tmp_path, **variables)

    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.count("\n") == 1 and sentence in done.stderr
    assert not (tmp_path / "runs").exists()


def _snapshot(run_folder: Path) -> Snapshot:
    with find_job(str(run_folder), None) as found:
        return found.registry.snapshot()


def _await(run_folder: Path, is_true: Callable[[Snapshot], bool], timeout_s: float = 240.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not ((run_folder / "job.yaml").exists() and is_true(_snapshot(run_folder))):
        assert time.monotonic() < deadline, "the job did not come so far"
        time.sleep(0.2)
