"""One order and the same weights, bit by bit, however many producers and trainers there are and whichever dies."""

from pathlib import Path

import pytest

from cluster.controller import Outcome
from shared.registry import Registry
from shared.registry_snapshot import Snapshot
from tests.integration.scenario import TRAINERS, Seen, kill, make_job, run, weights, when_block

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("own_ray")]
TWO, ALONE = TRAINERS[1:], [TRAINERS[0] | {"num_latents": 128}]
"""Of the four: starting a trainer takes longer than most of what it does here."""


@pytest.fixture(scope="module")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory, own_ray: None, gpt2_folder: str, corpus_folder: str
) -> tuple[Seen, dict[str, bytes]]:
    """One producer, four trainers, nothing happens."""
    job = make_job(tmp_path_factory.mktemp("undisturbed"), gpt2_folder, corpus_folder)
    return run(job), weights(job)


def check(seen: Seen, found: dict[str, bytes], undisturbed: tuple[Seen, dict[str, bytes]]) -> None:
    expected, expected_weights = undisturbed
    assert seen.outcome is Outcome.FINISHED
    assert seen.digests == expected.digests and len(seen.digests) == 1
    assert found == {name: expected_weights[name] for name in found}
    assert seen.imbalances == [] and seen.num_looks > 5


def test_all_trainers_read_the_same_rows_once(undisturbed: tuple[Seen, dict[str, bytes]]) -> None:
    seen, found = undisturbed
    check(seen, found, undisturbed)
    assert len(found) == 4
    assert {one.rows for one in seen.snapshot.trainers.values()} == {40_000}
    assert seen.snapshot.lanes[0].counters.emitted == 40_000


def test_three_producers_and_a_trainer_alone_change_nothing(
    tmp_path: Path, gpt2_folder: str, corpus_folder: str, undisturbed: tuple[Seen, dict[str, bytes]]
) -> None:
    job = make_job(tmp_path, gpt2_folder, corpus_folder, producers__count=3, trainers=ALONE)
    check(run(job), weights(job), undisturbed)


def test_a_producer_a_trainer_and_a_lane_that_are_killed_change_nothing(
    tmp_path: Path, gpt2_folder: str, corpus_folder: str, undisturbed: tuple[Seen, dict[str, bytes]]
) -> None:
    job = make_job(tmp_path, gpt2_folder, corpus_folder, producers__count=2, trainers=TWO)
    kills = [when_block(5, kill("producer-0")), when_block(11, kill("trainer-relu")), when_block(17, kill("lane-0"))]

    def meanwhile(registry: Registry, snapshot: Snapshot) -> bool:
        if kills[0](registry, snapshot):
            kills.pop(0)
        return not kills

    seen = run(job, meanwhile=meanwhile)
    check(seen, weights(job), undisturbed)
    assert not kills
    for role in ("producer-0", "trainer-relu", "lane-0"):
        assert any(message.startswith(f"{role} died") for message in seen.events), seen.events
