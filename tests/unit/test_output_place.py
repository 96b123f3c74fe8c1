from pathlib import Path

import pytest

from cluster.output_place import FALLBACK, RAYS_JOB, SUBMITTED_FROM, with_lasting_output
from shared.config import Job
from shared.job_file import parse_job


def job(output: str) -> Job:
    return parse_job(
        "{name: one, model: {name: m, hookpoints: [h]}, corpus: {source: stdlib}, tokens: 10, "
        f"trainers: [{{name: a, architecture: topk, num_latents: 8, k: 1}}], output: {output}}}"
    )


def test_output_stays_as_written_where_ray_does_not_run_the_driver() -> None:
    assert with_lasting_output(job("runs/one"), {}).output == "runs/one"


def test_relative_output_lies_where_the_job_was_submitted_from(tmp_path: Path) -> None:
    environment = {RAYS_JOB: "{}", SUBMITTED_FROM: str(tmp_path)}
    assert with_lasting_output(job("runs/one"), environment).output == f"{tmp_path}/runs/one"


@pytest.mark.parametrize("submitted_from", ["/a/folder/that/only/the/laptop/has", "", "relative"])
def test_relative_output_lies_in_the_home_folder_where_the_cluster_lacks_that_one(submitted_from: str) -> None:
    environment = {RAYS_JOB: "{}", SUBMITTED_FROM: submitted_from}
    assert with_lasting_output(job("runs/one"), environment).output == str(FALLBACK.expanduser() / "runs/one")


def test_absolute_output_stays() -> None:
    assert with_lasting_output(job("/data/one"), {RAYS_JOB: "{}"}).output == "/data/one"
