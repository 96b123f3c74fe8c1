"""Headrace on a Ray cluster as its users have it: a token, two CPUs, a job that is submitted, doors that are closed."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.ray_cluster import ROOT, SHORT, TWO_TRAINERS, RayCluster, ray_start_head

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    with ray_start_head() as cluster:
        yield cluster


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
