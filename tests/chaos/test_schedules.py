"""Whatever dies, freezes, loses its memory or goes on although it was ended, at whatever moment: the end is the same.

Each schedule runs driver, lanes, producers and trainers of one small job, with real Redis, in an order that its seed
draws, through faults that its seed draws. It checks at each step that every trainer reads each row once, in the one
order that the job fixes; at each look that the ledger balances; and at its end that all ended with the same digest,
that no actor was replaced to which nothing was done, and that no unit was set aside but one that kills every producer.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from shared.registry_connection import RegistryAddress
from tests.chaos.simulation.schedule import run_schedule

NUM_SCHEDULES = 800
"""About a minute on one free core; `make chaos` runs ten thousand."""


@pytest.fixture(scope="module")
def client(embedded_address: RegistryAddress) -> Iterator[redis.Redis]:
    with embedded_address.connect() as client:
        yield client


@pytest.mark.slow
@pytest.mark.parametrize("tenth", range(10))
def test_every_schedule_ends_as_if_nothing_had_been(tenth: int, client: redis.Redis, tmp_path: Path) -> None:
    share = NUM_SCHEDULES // 10
    for seed in range(tenth * share, (tenth + 1) * share):
        run_schedule(seed, client, tmp_path / str(seed))
