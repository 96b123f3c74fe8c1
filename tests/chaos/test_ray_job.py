"""`ray job submit` and `ray job stop` on a cluster with a token: saved within Ray's window, and resumed exactly."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cluster.job_place import find_job
from shared.job_state import JobState
from shared.registry_snapshot import Snapshot
from tests.integration.ray_cluster import SHORT, TWO_TRAINERS, RayCluster, Series, copy_checkout, ray_start_head

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
TOKENS = 200_000
RESUME_S = 60.0
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


@pytest.fixture
def cluster() -> Iterator[RayCluster]:
    with ray_start_head() as cluster:
        yield cluster


@pytest.fixture
def hasty_cluster() -> Iterator[RayCluster]:
    with ray_start_head(stop_wait_s=None) as cluster:
        yield cluster


def test_plain_ray_job_is_stopped_saved_and_goes_on_exactly(cluster: RayCluster, tmp_path: Path) -> None:
    series = Series(cluster.metrics)
    checkout, run_folder, logs = _stopped(cluster, tmp_path)
    _check_saved(run_folder, logs)
    _resume(cluster, checkout, run_folder)
    series.close()
    for name, roles in STAGES.items():
        assert roles <= set(series.of(name)), name
    assert max(series.of("ray_headrace_trainer_tokens").values()) > 0


def test_in_the_three_seconds_that_ray_leaves_by_itself_a_job_saves_or_goes_on_from_its_last_checkpoint(
    hasty_cluster: RayCluster, tmp_path: Path
) -> None:
    """Alone on two cores it saves in less than a second; a busy machine may give it none."""
    checkout, run_folder, logs = _stopped(hasty_cluster, tmp_path)
    if "saved; go on with" in logs:
        _check_saved(run_folder, logs)
    _resume(hasty_cluster, checkout, run_folder)


def _stopped(cluster: RayCluster, tmp_path: Path) -> tuple[Path, Path, str]:
    """A job that was submitted, and stopped after its first checkpoint: its checkout, its run folder and its log."""
    checkout, run_folder = copy_checkout(tmp_path), cluster.home / "headrace" / "runs" / "demo"
    ray = {"RAY_AUTH_MODE": "token", "RAY_API_SERVER_ADDRESS": cluster.dashboard}
    command = ("python", "-m", "cluster", "run", "examples/demo.yaml", f"tokens={TOKENS}", *TWO_TRAINERS, *SHORT)
    submit = ("ray", "job", "submit", "--no-wait", "--submission-id=demo", "--working-dir=.", "--", *command)
    done = cluster.call(*submit, cwd=checkout, **ray)
    assert done.returncode == 0, done.stdout + done.stderr
    _await(run_folder, lambda snapshot: snapshot.job.checkpoint is not None and snapshot.job.state is JobState.RUNNING)

    listed = cluster.call("ray", "job", "stop", "demo", cwd=checkout, **ray)
    logs = cluster.call("ray", "job", "logs", "demo", cwd=checkout, **ray).stdout
    assert "was stopped" in listed.stdout + listed.stderr
    return checkout, run_folder, logs


def _check_saved(run_folder: Path, logs: str) -> None:
    stopped = _snapshot(run_folder)
    assert stopped.job.state is JobState.STOPPED, logs
    assert f"saved; go on with: headrace resume {run_folder}" in logs
    assert (run_folder / "checkpoints" / str(stopped.job.checkpoint) / "manifest.json").is_file()
    assert not (run_folder / "saes").exists(), "the job ended before it was stopped: give it more tokens"


def _resume(cluster: RayCluster, checkout: Path, run_folder: Path) -> None:
    """Typed until it is taken: a driver that was killed counts as alive for some seconds."""
    deadline = time.monotonic() + RESUME_S
    while True:
        done = cluster.headrace("resume", str(run_folder), cwd=checkout, PYTHONPATH="", RAY_ADDRESS=cluster.gcs)
        if done.returncode == 0:
            break
        assert "already running" in done.stderr and time.monotonic() < deadline, done.stdout + done.stderr
        time.sleep(1.0)
    finished = _snapshot(run_folder)
    assert finished.job.state is JobState.FINISHED
    assert {one.name for one in (run_folder / "saes").iterdir()} == {"topk-512", "relu-1024"}
    assert {one.rows for one in finished.trainers.values()} == {TOKENS}
    assert len({one.bits_digest for one in finished.trainers.values()}) == 1


def _snapshot(run_folder: Path) -> Snapshot:
    with find_job(str(run_folder), None) as found:
        return found.registry.snapshot()


def _await(run_folder: Path, is_true: Callable[[Snapshot], bool], timeout_s: float = 240.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not ((run_folder / "job.yaml").exists() and is_true(_snapshot(run_folder))):
        assert time.monotonic() < deadline, "the job did not come so far"
        time.sleep(0.2)
