"""A few real faults; `python -m tests.chaos` tries hundreds, and tests/integration kills some in `make test`."""

import pytest

from tests.chaos.campaign import Ground, prepare_ground
from tests.chaos.fault import Fault
from tests.chaos.trial import try_faults

pytestmark = [pytest.mark.long, pytest.mark.slow, pytest.mark.usefixtures("own_ray"), pytest.mark.timeout(600)]
TWO_LANES = 1


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Ground:
    return prepare_ground(tmp_path_factory.mktemp("ground"))


@pytest.mark.parametrize("faults", [["producer kill 5", "redis kill 14", "lane kill 23"], ["driver kill 17"]], ids=str)
def test_a_job_in_which_some_are_killed_ends_as_if_nothing_had_been(faults: list[str], ground: Ground) -> None:
    job = ground.job(TWO_LANES, faults[0].partition(" ")[0])
    trials = try_faults([fault(*words.split()) for words in faults], job, ground.end(TWO_LANES))
    for trial in trials:
        assert trial.is_tried and trial.is_survived and trial.rows_lost == 0, trial


def fault(role: str, kind: str, block: str) -> Fault:
    return Fault(role, kind, int(block))
