"""Whatever dies, freezes, loses its memory or goes on although it was ended, at whatever moment: the end is the same.

Each schedule runs driver, lanes, producers and trainers of one small job, with real Redis, in an order that its seed
draws, through faults that its seed draws. It checks at each step that every trainer reads each row once, in the one
order that the job fixes, but for the gaps of those that yield; at each look, an outsider's too, that the ledger
balances, that no lane holds more than it may or lets go of what is not read, and that it knows how well its newest
block is mixed; and at its end that all ended with the digest of what they had to read, that no actor was replaced to
which nothing was done, and that no unit was set aside but one that kills every producer.
"""

from typing import Any

import pytest

from shared.block_log import BlockLog
from tests.chaos.simulation.fleet import run_schedules, run_share

NUM_SCHEDULES = 10_000
"""Some thirteen minutes on two cores."""


def test_what_a_schedule_finds_at_its_end_fails_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.chaos.simulation.schedule.ledger", lambda snapshot: Unbalanced())
    (words,) = run_share(range(1, 2)).values()
    assert words.endswith("a row is nowhere")


@pytest.mark.parametrize(
    ("broken", "instead", "found"),
    [
        ("shared.block_log.BlockLog.has_room", lambda log, num_bytes: True, "bytes in its log"),
        ("shared.block_log.BlockLog.to_spool", lambda log: oldest_in_memory(log), "bytes in its spool"),
        ("shared.block_log.BlockLog._firm_cursor", BlockLog.furthest, "has let go of the blocks"),
        ("shared.lane.distinct_contexts", lambda rows: 1.0, "says 1.0 contexts"),
    ],
)
def test_a_lane_that_holds_too_much_or_too_little_or_measures_wrongly_fails_it(
    monkeypatch: pytest.MonkeyPatch, broken: str, instead: Any, found: str
) -> None:
    monkeypatch.setattr(broken, instead)
    assert any(found in words for words in run_share(range(200, 206)).values())


def oldest_in_memory(log: BlockLog) -> Any:
    """What `to_spool` gives, whether or not the disk may take it."""
    in_memory = (block for block in log._blocks.values() if not block.is_spooled)
    return next(in_memory, None) if log._max_spool_bytes else None


class Unbalanced:
    def imbalances(self) -> list[str]:
        return ["a row is nowhere"]


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_every_schedule_ends_as_if_nothing_had_been() -> None:
    failed = {seed: words for _, share in run_schedules(range(NUM_SCHEDULES)) for seed, words in share.items()}
    assert not failed
