"""A trainer that stands still while its heart beats, or eats until the kernel kills it; nobody else is touched."""

from pathlib import Path
from typing import Any

import pytest

from cluster.controller import Outcome
from shared.config import Job
from shared.registry import Registry
from tests.chaos.memory_group import memory_group
from tests.integration.scenario import TRAINERS, make_job, pid_of, run, weights, when_block
from tests.wayward import ARCHITECTURE, EAT, HANG

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("own_ray")]
STUCK_S = 20.0
"""Instead of half an hour; all that wait move more often."""
MOST_BYTES = 200 * 2**20


class Wayward:
    """Jobs alike with a trainer under orders, the slowest, and how one ends that gives it none."""

    def __init__(self, folder: Path, model: str, corpus: str) -> None:
        self._folder, self._model, self._corpus, self.orders = folder, model, corpus, folder / "orders"
        plain = self.job("plain")
        self._expected = run(plain).digests, weights(plain)

    def job(self, name: str) -> Job:
        trainer = {"name": "wayward", "architecture": ARCHITECTURE, "num_latents": 64, "k": 8, "batch_rows": 16}
        changes: dict[str, Any] = {
            "trainers": [{**trainer, "orders": str(self.orders)}, TRAINERS[2]],
            "stream__spool_bytes": "64MiB",
        }
        return make_job(self._folder / name, self._model, self._corpus, **changes)

    def check(self, job: Job, strike: Any, death: str) -> None:
        """It ends as the other one, and nobody dies in it but the trainer, of `death`."""
        seen = run(job, meanwhile=when_block(5, strike))
        assert seen.outcome is Outcome.FINISHED and seen.imbalances == []
        (said,) = [message for message in seen.events if message.endswith(" s later")]
        assert said.startswith(f"trainer-wayward {death}; back from block "), said
        assert (seen.digests, weights(job)) == self._expected


@pytest.fixture(scope="module")
def wayward(tmp_path_factory: pytest.TempPathFactory, own_ray: None, gpt2_folder: str, corpus_folder: str) -> Wayward:
    return Wayward(tmp_path_factory.mktemp("wayward"), gpt2_folder, corpus_folder)


def test_who_does_not_get_on_is_replaced(wayward: Wayward, monkeypatch: pytest.MonkeyPatch) -> None:
    def strike(registry: Registry) -> None:
        wayward.orders.write_text(HANG)

    monkeypatch.setattr("cluster.hearing.STUCK_S", STUCK_S)
    wayward.check(wayward.job("hangs"), strike, "did not get on for 0 min")


def test_who_was_killed_for_want_of_memory_says_so_and_comes_back(wayward: Wayward) -> None:
    with memory_group(MOST_BYTES) as group:

        def strike(registry: Registry) -> None:
            group.add(pid_of("trainer-wayward"))
            wayward.orders.write_text(EAT)

        wayward.check(wayward.job("eats"), strike, "was killed because the machine ran out of memory")
