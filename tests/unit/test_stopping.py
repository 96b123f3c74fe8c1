"""The block at which a job stops is one that everybody can still come to."""

from dataclasses import replace

import pytest

from cluster.stopping import Held, Standing, Standstill, StopWish, stop_block, unsaved
from shared.registry_facts import LaneCounters, TrainerCounters
from shared.registry_snapshot import LaneFacts, Snapshot
from tests.example_run import example_snapshot

NUM_BLOCKS = 40


def snapshot(high_blocks: list[int], cursors: list[int]) -> Snapshot:
    lanes = tuple(LaneFacts(LaneCounters(), 0, 0, high, 0) for high in high_blocks)
    trainers = {f"t{number}": TrainerCounters(cursor=cursor) for number, cursor in enumerate(cursors)}
    return replace(example_snapshot(), lanes=lanes, trainers=trainers)


def test_it_lies_behind_the_farthest_lane() -> None:
    standing = Standing([Held(8, False), Held(11, False)], [3, 5], snapshot([8, 9], [3, 5]))
    assert stop_block(standing, NUM_BLOCKS) == 11


@pytest.mark.parametrize(
    ("cursors", "high", "known"), [([14], 8, 3), ([3], 14, 3), ([3], 8, 14)], ids=["begun", "emitted", "said"]
)
def test_what_was_emitted_by_a_lane_that_has_gone_back_is_not_beyond_it(
    cursors: list[int | None], high: int, known: int
) -> None:
    assert stop_block(Standing([Held(2, False)], cursors, snapshot([high], [known])), NUM_BLOCKS) == 14


def test_nothing_is_fixed_while_somebody_does_not_answer() -> None:
    known = snapshot([8, 8], [3])
    assert stop_block(Standing([Held(8, True), None], [3], known), NUM_BLOCKS) is None
    assert stop_block(Standing([Held(8, True)] * 2, [None], known), NUM_BLOCKS) is None
    assert stop_block(Standing([Held(8, False)] * 2, [3], None), NUM_BLOCKS) is None


def test_a_stream_that_is_out_goes_on_to_its_end() -> None:
    assert stop_block(Standing([Held(8, True), Held(9, True)], [3], snapshot([8, 9], [3])), NUM_BLOCKS) == NUM_BLOCKS
    assert stop_block(Standing([Held(40, False)], [3], snapshot([40], [3])), NUM_BLOCKS) == NUM_BLOCKS


def test_a_wish_lasts_from_when_it_was_first_made(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [50.0]
    monkeypatch.setattr("cluster.stopping.time.monotonic", lambda: now[0])
    wish = StopWish()
    assert not wish.is_set() and wish.lasts_s() == 0.0
    wish.set()
    now[0] = 140.0
    wish.set()
    assert wish.is_set() and wish.lasts_s() == 90.0


@pytest.mark.parametrize(
    ("at", "said"),
    [
        (
            Standstill(20, ["lane-0", "trainer-a", "trainer-b"], {"trainer-a": 7, "trainer-b": 20}, "", 5),
            "not all could save at block 20 within 30 s (lane-0 has not saved, trainer-a stands at 7, trainer-b has "
            "not saved): what comes after block 5 will be done again",
        ),
        (
            Standstill(20, [], {"trainer-a": 20}, "the disk is full", 5),
            "not all could save at block 20 within 30 s (the disk is full): what comes after block 5 will be done "
            "again",
        ),
        (
            Standstill(None, [], {"trainer-a": 3}, "", 0),
            "not all could save within 30 s: what comes after block 0 will be done again",
        ),
    ],
)
def test_who_could_not_save_in_time_is_named(at: Standstill, said: str) -> None:
    assert unsaved(at, 30.0) == said
