"""The kernel kills a trainer for want of memory: it is said so, the trainer comes back, and nobody else is touched."""

from pathlib import Path

import pytest

from cluster.controller import Outcome
from shared.registry import Registry
from tests.chaos.memory_group import memory_group
from tests.integration.scenario import TRAINERS, make_job, pid_of, run, weights, when_block
from tests.wayward import ARCHITECTURE, EAT

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("own_ray")]
MOST_BYTES = 200 * 2**20


def test_who_was_killed_for_want_of_memory_says_so_and_comes_back(
    tmp_path: Path, gpt2_folder: str, corpus_folder: str
) -> None:
    orders = tmp_path / "orders"
    wayward = {"name": "greedy", "architecture": ARCHITECTURE, "num_latents": 64, "k": 8, "orders": str(orders)}
    changes = {"trainers": [wayward, TRAINERS[1]], "stream__spool_bytes": "64MiB"}
    plain = make_job(tmp_path / "plain", gpt2_folder, corpus_folder, **changes)
    expected = run(plain)

    job = make_job(tmp_path, gpt2_folder, corpus_folder, **changes)
    with memory_group(MOST_BYTES) as group:

        def strike(registry: Registry) -> None:
            group.add(pid_of("trainer-greedy"))
            orders.write_text(EAT)

        seen = run(job, meanwhile=when_block(5, strike))
    assert seen.outcome is Outcome.FINISHED and seen.imbalances == []
    (death,) = [message for message in seen.events if message.endswith(" s later")]
    assert death.startswith("trainer-greedy was killed because the machine ran out of memory; back from block "), death
    assert seen.digests == expected.digests and weights(job) == weights(plain)
