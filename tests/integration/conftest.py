"""One Ray for all scenarios, with more CPUs on its books than the machine has; it takes longer to start than a job."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import ray

from tests.tiny_models import text, tiny_gpt2


@contextmanager
def ray_here() -> Iterator[None]:
    """Ray in this process; actors of one job after another live in it."""
    ray.init(
        address="local",
        namespace="headrace-tests",
        num_cpus=16,
        object_store_memory=256 * 2**20,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
    )
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def own_ray() -> Iterator[None]:
    with ray_here():
        yield


@pytest.fixture(scope="session")
def gpt2_folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_gpt2(tmp_path_factory.mktemp("gpt2")))


@pytest.fixture(scope="session")
def corpus_folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Forty files of a few thousand tokens each."""
    folder = tmp_path_factory.mktemp("corpus")
    for index in range(40):
        (folder / f"{index:02}.txt").write_text(text(1500, seed=index))
    return str(folder)
