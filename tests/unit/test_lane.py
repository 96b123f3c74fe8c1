"""A lane without Ray: exactly once, one order, exact restore, whatever the timing of pushes and reads."""

import contextlib
import random
import shutil
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.block_log import LoggedBlock
from shared.errors import DiskFull, LaneClosed, SchemaError, StaleToken
from shared.lane import Ack, Lane, LaneEnd, LaneSizes
from shared.registry_facts import LaneCounters
from shared.row_table import RowFormat, Rows, read_rows, table_metadata
from shared.spool import Spool
from shared.stream_plan import StreamPlan
from tests.small_disk import Mount

FORMAT = RowFormat("job", "model", "main", {"h.0": 3}, "float32")


def unit_chunks(unit: int, num_chunks: int = 3, chunk_rows: int = 8) -> list[pa.Table]:
    """The rows of a unit, which depend on its number alone; the last chunk is a short one."""
    tables, start = [], 0
    for chunk in range(num_chunks):
        num_rows = chunk_rows if chunk + 1 < num_chunks else 1 + unit % chunk_rows
        rows = FORMAT.empty(num_rows)
        rows.addresses[:] = [(unit, 0, (start + row) // 4, row % 4, 7) for row in range(num_rows)]
        rows.addresses[:, 3] = np.arange(start, start + num_rows)
        rows.activations["h.0"][:] = np.arange(num_rows * 3).reshape(-1, 3) + 1000 * unit + 10 * chunk
        tables.append(FORMAT.table(rows, unit=unit, chunk=chunk))
        start += num_rows
    return tables


def unit_rows(unit: int) -> int:
    return 16 + 1 + unit % 8


def copied(table: pa.Table) -> Rows:
    rows = read_rows(table)
    return Rows(rows.addresses.copy(), {name: values.copy() for name, values in rows.activations.items()})


def make_lane(index: int = 0, lanes: int = 1, tokens: int = 200, num_units: int = 100, **more: Any) -> Lane:
    plan = StreamPlan(tokens=tokens, block_rows=16, lanes=lanes, every_blocks=more.pop("every_blocks", 1000))
    log_bytes, spool_bytes = more.pop("log_bytes", 10**6), more.pop("spool_bytes", 0)
    sizes = LaneSizes(40, 8, num_slots=40 + 8 + 6 * 24, log_bytes=log_bytes, spool_bytes=spool_bytes)
    more.setdefault("put", copied)
    return Lane(index, plan, FORMAT, sizes, 5, num_units, more.pop("cursors", {"a": 0}), **more)


def pump(lane: Lane) -> None:
    """As much as the lane's own thread would do before it waits."""
    for _ in range(4):
        lane.pump(0.0)


def drain(lane: Lane, cursor: int = 0) -> list[Rows]:
    """Blocks that can be read without another push."""
    blocks: list[Rows] = []
    while True:
        pump(lane)
        wanted = cursor + len(blocks)
        block = lane.fetch("a", 1, wanted, wanted, 0.0)
        if isinstance(block, LaneEnd):
            return blocks
        blocks.append(block.handle)


def run_in_order(lane: Lane, units: range) -> list[Rows]:
    blocks: list[Rows] = []
    for unit in units:
        for chunk, table in enumerate(unit_chunks(unit)):
            lane.push(unit, chunk, 3, 1, table)
            blocks += drain(lane, len(blocks))
    return blocks + drain(lane, len(blocks))


def same(first: list[Rows], second: list[Rows]) -> bool:
    return len(first) == len(second) and all(
        np.array_equal(a.addresses, b.addresses) and np.array_equal(a.activations["h.0"], b.activations["h.0"])
        for a, b in zip(first, second, strict=True)
    )


def addresses(blocks: list[Rows]) -> list[tuple[int, ...]]:
    return [tuple(row) for block in blocks for row in block.addresses.tolist()]


def balances(counts: LaneCounters) -> bool:
    return counts.pushed == counts.staged + counts.resident + counts.emitted + counts.surplus


def test_every_row_comes_out_once_up_to_the_budget() -> None:
    lane = make_lane(tokens=200)
    out = addresses(run_in_order(lane, range(20)))
    assert len(out) == len(set(out)) == 200
    pushed = [
        tuple(row) for unit in range(20) for table in unit_chunks(unit) for row in read_rows(table).addresses.tolist()
    ]
    assert set(out) == set(pushed[:200])
    assert lane.finished and balances(lane.counts()) and lane.counts().surplus == len(pushed) - 200


def test_rows_keep_their_activations() -> None:
    for block in run_in_order(make_lane(), range(20)):
        for address, values in zip(block.addresses, block.activations["h.0"], strict=True):
            unit, position = int(address[0]), int(address[3])
            chunk = min(position // 8, 2)
            assert values[0] == 1000 * unit + 10 * chunk + 3 * (position - 8 * chunk)


def test_a_short_corpus_ends_the_stream_with_a_short_block() -> None:
    blocks = run_in_order(make_lane(tokens=10_000, num_units=3), range(3))
    assert sum(block.num_rows for block in blocks) == sum(unit_rows(unit) for unit in range(3))


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), producers=st.integers(1, 4))
def test_the_order_does_not_depend_on_who_pushes_when(seed: int, producers: int) -> None:
    """Units begun in order and finished in any, some done twice: the same blocks as from one producer."""
    expected = run_in_order(make_lane(), range(12))
    rng, lane, blocks = random.Random(seed), make_lane(), []
    waiting, working = list(range(12)), []
    while waiting or working:
        if waiting and len(working) < producers:
            working.append([waiting.pop(0), 0, 1])
        at_work = rng.randrange(len(working))
        unit, chunk, token = working[at_work]
        if not lane.counts().satisfied and not lane._has_room(unit, 8):  # this push would wait
            blocks += drain(lane, len(blocks))
            continue
        if rng.random() < 0.1:
            working[at_work] = [unit, 0, token + 1]
            continue
        assert lane.push(unit, chunk, 3, token, unit_chunks(unit)[chunk]) in Ack
        working[at_work][1] += 1
        if chunk == 2:
            working.pop(at_work)
        if rng.random() < 0.5:
            blocks += drain(lane, len(blocks))
        assert balances(lane.counts())
    assert same(blocks + drain(lane, len(blocks)), expected)


@pytest.mark.parametrize("barrier", [3, 6, 9])
def test_restored_lane_gives_the_same_blocks_again(tmp_path: Path, barrier: int) -> None:
    whole: list[Rows] = []
    lane = make_lane(every_blocks=3, save_part=lambda block: _save(lane, tmp_path / str(block)))
    whole = run_in_order(lane, range(20))
    again = make_lane(every_blocks=3, cursors={"a": barrier})
    again.restore(tmp_path / str(barrier), barrier)
    assert balances(again.counts())
    blocks: list[Rows] = []
    for unit in range(again.counts().head, 20):
        for chunk, table in enumerate(unit_chunks(unit)):
            again.push(unit, chunk, 3, 1, table)
            blocks += drain(again, barrier + len(blocks))
    assert same(blocks + drain(again, barrier + len(blocks)), whole[barrier:])


def _save(lane: Lane, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    lane.save(folder)


def test_counters_of_a_checkpoint_are_those_of_the_lane_that_goes_on_from_it(tmp_path: Path) -> None:
    counters = []
    lane = make_lane(every_blocks=2, save_part=lambda block: counters.append(_saved(lane, tmp_path / str(block))))
    run_in_order(lane, range(12))
    for block, expected in zip((0, 2, 4, 6), counters, strict=False):
        again = make_lane(every_blocks=2, cursors={"a": block})
        again.restore(tmp_path / str(block), block)
        found = again.counts()
        names = ("head", "open_rows", "pushed", "staged", "resident", "emitted", "surplus", "next_block")
        assert [getattr(found, name) for name in names] == [getattr(expected, name) for name in names]


def _saved(lane: Lane, folder: Path) -> LaneCounters:
    folder.mkdir()
    return lane.save(folder)


def test_stop_saves_at_the_block_asked_for_and_emits_no_more() -> None:
    saved: list[int] = []
    lane = make_lane(save_part=saved.append)
    run_in_order(lane, range(4))
    held_at = lane.hold()
    lane.push(4, 0, 3, 1, unit_chunks(4)[0])
    pump(lane)
    assert lane.counts().next_block == held_at
    lane.stop_at(held_at + 1)
    pump(lane)
    for chunk in (1, 2):
        if not lane.stopped:
            lane.push(4, chunk, 3, 1, unit_chunks(4)[chunk])
            pump(lane)
    assert lane.stopped and saved == [0, held_at + 1] and lane.counts().next_block == held_at + 1


def test_a_finished_lane_still_saves_for_a_stop() -> None:
    saved: list[int] = []
    lane = make_lane(tokens=64, save_part=saved.append)
    run_in_order(lane, range(5))
    lane.stop_at(3)
    pump(lane)
    assert lane.stopped and saved == [0, 3]


def test_a_lane_that_ended_early_is_at_every_barrier_that_a_reader_comes_to() -> None:
    saved: list[int] = []
    lane = make_lane(tokens=10_000, num_units=4, every_blocks=3, save_part=saved.append)
    blocks = run_in_order(lane, range(4))
    assert lane.finished and len(blocks) == 5 and saved == [0, 3]
    lane.read_below("a", 1, 6)
    pump(lane)
    assert saved == [0, 3, 6]
    lane.stop_at(20)
    pump(lane)
    assert saved == [0, 3, 6, 20] and lane.stopped


def test_what_a_reader_said_before_is_not_heard_after_what_it_says_now() -> None:
    lane = make_lane(log_bytes=1)
    for unit in range(5):
        for chunk, table in enumerate(unit_chunks(unit)):
            lane.push(unit, chunk, 3, 1, table)
    assert not isinstance(lane_block(lane, cursor=0, wanted=0), LaneEnd)
    lane.read_below("a", 1, 1)
    assert not isinstance(lane_block(lane, cursor=0, wanted=1), LaneEnd), "an old cursor came late, and held back"


def lane_block(lane: Lane, cursor: int, wanted: int) -> Any:
    found = lane.fetch("a", 1, cursor, wanted, 0.0)
    pump(lane)
    return found if not isinstance(found, LaneEnd) else lane.fetch("a", 1, cursor, wanted, 0.0)


def test_two_producers_copying_the_same_chunk_leave_one(monkeypatch: pytest.MonkeyPatch) -> None:
    lane = make_lane()
    write = lane._reservoir.write
    heirs = iter([lambda: lane.push(0, 0, 3, 2, unit_chunks(0)[0]), lambda: None])

    def overtaken(*args: Any) -> None:
        next(heirs)()
        write(*args)

    monkeypatch.setattr(lane._reservoir, "write", overtaken)
    assert lane.push(0, 0, 3, 1, unit_chunks(0)[0]) is Ack.DUPLICATE
    assert lane.counts().pushed == lane.counts().staged == 8 and balances(lane.counts())


def test_full_log_stops_the_lane_until_the_slowest_reader_moves() -> None:
    lane = make_lane(log_bytes=2 * 16 * FORMAT.row_bytes)

    def produce() -> None:
        with contextlib.suppress(LaneClosed):
            for unit in range(20):
                for chunk, table in enumerate(unit_chunks(unit)):
                    lane.push(unit, chunk, 3, 1, table)

    producer = threading.Thread(target=produce)
    producer.start()
    for _ in range(50):
        lane.pump(0.01)
    assert lane.counts().log_bytes == 2 * 16 * FORMAT.row_bytes and lane.counts().next_block == 2
    assert not isinstance(lane.fetch("a", 1, 1, 0, 0.0), LaneEnd), "what is read stays until its room is needed"
    lane.pump(0.01)
    assert lane.fetch("a", 1, 1, 0, 0.0) is LaneEnd.GONE
    assert lane.counts().next_block == 3
    lane.close()
    producer.join(10)
    assert not producer.is_alive()


def test_a_full_lane_takes_in_all_units_of_its_window_so_that_no_producer_waits_for_trainers() -> None:
    lane = make_lane(log_bytes=1, tokens=10_000)
    for unit in range(7):  # 137 rows: forty live, one block in the log, the rest of four units staged
        for chunk, table in enumerate(unit_chunks(unit)):
            assert lane.push(unit, chunk, 3, 1, table) is Ack.TAKEN
            pump(lane)
    assert lane.counts().next_block == 1 and lane.counts().staged == sum(map(unit_rows, range(7))) - 16 - 40


def test_a_block_that_the_registry_does_not_know_of_is_not_handed_out_nor_another_drawn() -> None:
    answers = [False]
    lane = make_lane(publish=lambda counts: answers[0])
    run_ahead(lane, range(5))
    assert lane.counts().next_block == 1, "the registry is to be at most one block behind"
    assert lane.fetch("a", 1, 0, 0, 0.0) is LaneEnd.NOT_YET
    answers[0] = True
    assert len(drain(lane)) == 4


def test_an_end_that_the_registry_does_not_know_of_is_not_told_to_trainers() -> None:
    told: list[LaneCounters] = []
    lane = make_lane(num_units=0, publish=lambda counts: bool(told.append(counts)) or len(told) > 4)
    pump(lane)
    assert lane.finished and lane.fetch("a", 1, 0, 0, 0.0) is LaneEnd.NOT_YET
    pump(lane)
    assert lane.fetch("a", 1, 0, 0, 0.0) is LaneEnd.FINISHED and told[-1].satisfied


def test_zombies_are_refused() -> None:
    lane = make_lane()
    lane.push(0, 0, 3, 1, unit_chunks(0)[0])
    assert lane.push(0, 0, 3, 2, unit_chunks(0)[0]) is Ack.DUPLICATE
    with pytest.raises(StaleToken, match="unit 0: token 1 is stale, 2 is in force"):
        lane.push(0, 1, 3, 1, unit_chunks(0)[1])
    lane.fetch("a", 4, 0, 0, 0.0)
    with pytest.raises(StaleToken):
        lane.fetch("a", 3, 0, 0, 0.0)


def test_skipped_unit_is_not_waited_for() -> None:
    lane = make_lane(num_units=2, tokens=10_000)
    for chunk, table in enumerate(unit_chunks(1)):
        lane.push(1, chunk, 3, 1, table)
    assert drain(lane) == []
    lane.skip_unit(0)
    assert len(addresses(drain(lane))) == unit_rows(1)


def test_foreign_table_is_refused_by_name() -> None:
    other = RowFormat("another", "model", "main", {"h.0": 3}, "float32")
    with pytest.raises(SchemaError, match="row table has job 'another', this job has 'job'"):
        make_lane().push(0, 0, 1, 1, other.table(other.empty(0)))


def test_units_go_to_their_lanes_and_blocks_come_from_them() -> None:
    lanes = [make_lane(index, lanes=2, tokens=300) for index in range(2)]
    for unit in range(30):
        for chunk, table in enumerate(unit_chunks(unit)):
            lane = lanes[unit % 2]
            lane.push(unit, chunk, 3, 1, table)
            lane.pump(0.0)
            lane.pump(0.0)
    out: list[tuple[int, ...]] = []
    for block in range(19):
        for _ in range(3):
            lanes[block % 2].pump(0.0)
        got = lanes[block % 2].fetch("a", 1, block, block, 0.0)
        assert not isinstance(got, LaneEnd)
        assert set(got.handle.addresses[:, 0] % 2) == {block % 2}
        out += addresses([got.handle])
    assert len(set(out)) == 300
    assert lanes[19 % 2].fetch("a", 1, 19, 19, 0.0) is LaneEnd.FINISHED


def test_threads_pushing_pumping_and_reading_at_once_give_the_same_blocks() -> None:
    expected, lane, blocks = run_in_order(make_lane(tokens=400), range(30)), make_lane(tokens=400), []
    done = threading.Event()

    def pump() -> None:
        while not done.is_set():
            lane.pump(0.01)

    def produce(offset: int) -> None:
        for unit in range(offset, 30, 3):
            for chunk, table in enumerate(unit_chunks(unit)):
                lane.push(unit, chunk, 3, 1, table)

    threads = [threading.Thread(target=pump), *(threading.Thread(target=produce, args=(i,)) for i in range(3))]
    for thread in threads:
        thread.start()
    while True:
        got = lane.fetch("a", 1, len(blocks), len(blocks), 5.0)
        if isinstance(got, LaneEnd):
            assert got is LaneEnd.FINISHED
            break
        blocks.append(got.handle)
    done.set()
    for thread in threads:
        thread.join(10)
    assert same(blocks, expected)


def test_a_reader_whose_fetch_waits_makes_room_by_saying_what_it_has_read() -> None:
    lane = make_lane(log_bytes=16 * FORMAT.row_bytes)
    for unit in range(4):
        for chunk, table in enumerate(unit_chunks(unit)):
            lane.push(unit, chunk, 3, 1, table)
    pump(lane)
    assert lane.counts().next_block == 1
    waiting = threading.Thread(target=lane.fetch, args=("a", 1, 0, 1, 5.0))
    waiting.start()
    lane.read_below("a", 1, 1)
    pump(lane)
    assert lane.counts().next_block == 2
    waiting.join(5)
    assert not waiting.is_alive()


def run_ahead(lane: Lane, units: range) -> None:
    """Pushes units while nobody reads."""
    for unit in units:
        for chunk, table in enumerate(unit_chunks(unit)):
            lane.push(unit, chunk, 3, 1, table)
            pump(lane)


def stored(table: pa.Table) -> pa.Table:
    """As an object store keeps a block: what the lane writes over next is not its memory."""
    rows = copied(table)
    return FORMAT.table(rows, **{name: table_metadata(table)[name] for name in ("block", "lane")})


def test_what_memory_has_no_room_for_goes_to_disk_and_comes_back_the_same(tmp_path: Path) -> None:
    expected = run_in_order(make_lane(), range(20))
    spool, block_bytes = Spool(tmp_path / "spool"), 16 * FORMAT.row_bytes
    lane = make_lane(log_bytes=2 * block_bytes, spool_bytes=5 * block_bytes, put=stored, spool=spool)
    run_ahead(lane, range(7))
    counts = lane.counts()
    assert (counts.next_block, counts.log_bytes, counts.spool_bytes) == (7, 2 * block_bytes, 5 * block_bytes)
    assert len(list((tmp_path / "spool").iterdir())) == 5
    blocks: list[Rows] = []
    for unit in range(7, 20):
        blocks += [read_rows(block.handle) for block in read_all(lane, len(blocks))]
        run_ahead(lane, range(unit, unit + 1))
    blocks += [read_rows(block.handle) for block in read_all(lane, len(blocks))]
    assert same(blocks, expected)


def read_all(lane: Lane, cursor: int) -> list[LoggedBlock]:
    found: list[LoggedBlock] = []
    while not isinstance(block := lane.fetch("a", 1, cursor + len(found), cursor + len(found), 0.0), LaneEnd):
        found.append(block)
        pump(lane)
    return found


def test_a_full_disk_is_no_more_than_a_full_log_until_there_is_room_again(
    mount: Mount, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = mount(tmp_path / "disk", 1)
    spool, block_bytes = Spool(disk.folder / "spool"), 16 * FORMAT.row_bytes
    lane = make_lane(log_bytes=block_bytes, spool_bytes=100 * block_bytes, put=stored, spool=spool)
    disk.fill()
    run_ahead(lane, range(5))
    assert lane.counts().next_block == 1 and lane.counts().spool_bytes == 0
    assert lane.counts().trouble == f"no room for block 0 of lane 0: the disk of {spool.folder} is full"
    assert list(spool.folder.iterdir()) == []
    assert not isinstance(lane.fetch("a", 1, 0, 0, 0.0), LaneEnd)

    monkeypatch.setattr("shared.lane.DISK_RETRY_S", 0.0)
    pump(lane)
    assert lane.counts().trouble, "the disk is still full"
    disk.empty()
    pump(lane)
    assert lane.counts().trouble == "" and lane.counts().spool_bytes >= block_bytes


def test_a_barrier_that_finds_no_room_goes_by_but_for_the_one_that_all_stop_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("shared.lane.DISK_RETRY_S", 0.0)
    tried, has_room = list[int](), list[bool]()

    def save(block: int) -> None:
        tried.append(block)
        if not has_room:
            raise DiskFull(f"no room for checkpoint {block}: the disk of x is full")

    lane = make_lane(every_blocks=1, save_part=save)
    run_ahead(lane, range(6))
    stop = lane.hold()
    assert tried == list(range(len(tried))) and len(tried) > 1
    assert f"no room for checkpoint {tried[-1]}" in lane.counts().trouble
    lane.stop_at(stop)
    tried.clear()
    pump(lane)
    assert len(tried) > 1 and set(tried) == {stop} and not lane.stopped
    has_room.append(True)
    pump(lane)
    assert lane.stopped and lane.counts().trouble == ""


def test_a_damaged_file_is_named_and_so_is_its_block(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    spool, block_bytes = Spool(tmp_path / "spool"), 16 * FORMAT.row_bytes
    lane = make_lane(log_bytes=block_bytes, spool_bytes=3 * block_bytes, put=stored, spool=spool)
    run_ahead(lane, range(6))
    path = tmp_path / "spool" / "0.arrow"
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    path.write_bytes(damaged)
    assert lane.fetch("a", 1, 0, 0, 0.0) is LaneEnd.DAMAGED
    assert f"{path} is damaged" in caplog.text
    assert not isinstance(lane.fetch("a", 1, 0, 1, 0.0), LaneEnd)


def test_files_go_when_all_have_read_them_and_a_checkpoint_lies_behind(tmp_path: Path) -> None:
    spool, block_bytes = Spool(tmp_path / "spool"), 16 * FORMAT.row_bytes
    lane = make_lane(log_bytes=block_bytes, spool_bytes=9 * block_bytes, put=stored, spool=spool)
    run_ahead(lane, range(6))
    before = len(list((tmp_path / "spool").iterdir()))
    lane.read_below("a", 1, 3)
    assert len(list((tmp_path / "spool").iterdir())) == before, "a restart may ask for them"
    lane.checkpoint_complete(2)
    assert sorted(int(path.stem) for path in (tmp_path / "spool").iterdir())[0] == 2


def test_a_spool_whose_folder_was_taken_away_is_made_again(tmp_path: Path) -> None:
    spool, block_bytes = Spool(tmp_path / "spool" / "lane-0@7"), 16 * FORMAT.row_bytes
    lane = make_lane(log_bytes=block_bytes, spool_bytes=9 * block_bytes, put=stored, spool=spool)
    run_ahead(lane, range(3))
    before = lane.counts().spool_bytes
    shutil.rmtree(tmp_path / "spool")
    run_ahead(lane, range(3, 6))
    assert lane.counts().trouble == "" and lane.counts().spool_bytes > before
    number = max(int(path.stem) for path in spool.folder.iterdir())
    assert not isinstance(lane.fetch("a", 1, 0, number, 0.0), LaneEnd)
