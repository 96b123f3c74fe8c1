"""Model and corpus are those of integration tests; each module has its own Ray, since some have a cluster instead."""

from collections.abc import Iterator

import pytest

from tests.integration.conftest import corpus_folder, gpt2_folder, ray_here

__all__ = ["corpus_folder", "gpt2_folder", "own_ray"]


@pytest.fixture(scope="module")
def own_ray() -> Iterator[None]:
    with ray_here():
        yield
