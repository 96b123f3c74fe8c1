"""Whatever dies, freezes, loses its memory or goes on although it was ended, at whatever moment: the end is the same.

Each schedule runs driver, lanes, producers and trainers of one small job, with real Redis, in an order that its seed
draws, through faults that its seed draws. It checks at each step that every trainer reads each row once, in the one
order that the job fixes; at each look, an outsider's too, that the ledger balances; and at its end that all ended with
the same digest, that no actor was replaced to which nothing was done, and that no unit was set aside but one that kills
every producer.
"""

import pytest

from tests.chaos.simulation.fleet import run_schedules

NUM_SCHEDULES = 1500
"""A minute and a half on one free core; `make chaos` runs ten thousand on all."""


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_schedule_ends_as_if_nothing_had_been() -> None:
    """In one process, since other tests run beside this one."""
    failed = {seed: words for _, share in run_schedules(range(NUM_SCHEDULES), 1) for seed, words in share.items()}
    assert not failed
