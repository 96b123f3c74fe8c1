"""A few real faults; `make chaos` tries hundreds, and tests/integration kills producers, lanes and trainers, too."""

import pytest

from tests.chaos.campaign import Ground, prepare_ground
from tests.chaos.trial import Fault, try_fault

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("own_ray"), pytest.mark.timeout(600)]
TWO_LANES = 1


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Ground:
    return prepare_ground(tmp_path_factory.mktemp("ground"))


@pytest.mark.parametrize(("role", "block"), [("redis", 9), ("lane", 23), ("driver", 17)])
def test_a_job_in_which_one_is_killed_ends_as_if_nothing_had_been(role: str, block: int, ground: Ground) -> None:
    trial = try_fault(Fault(role, "kill", block), ground.job(TWO_LANES, f"{role}-dies"), ground.end(TWO_LANES))
    assert trial.is_tried and trial.is_survived and trial.rows_lost == 0, trial.words
