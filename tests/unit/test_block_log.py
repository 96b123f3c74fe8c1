from hypothesis import given
from hypothesis import strategies as st

from shared.block_log import BlockLog, LoggedBlock


def block(number: int, num_bytes: int = 10) -> LoggedBlock:
    return LoggedBlock(number, 1, num_bytes, f"handle-{number}")


def filled(max_bytes: int = 30, numbers: range = range(3)) -> BlockLog:
    log = BlockLog(max_bytes, {"a": 0, "b": 0})
    for number in numbers:
        assert log.has_room(10)
        log.append(block(number))
    return log


def test_block_is_there_until_all_have_read_it_and_room_is_needed() -> None:
    log = filled()
    assert not log.has_room(10)
    log.move("a", 2)
    assert not log.has_room(10), "b has read nothing"
    log.move("b", 1)
    assert log.first == 0, "no room is needed yet"
    assert log.has_room(10) and log.first == 1


def test_blocks_stay_for_a_restart_until_a_checkpoint_lies_behind_them() -> None:
    log = filled()
    log.move("a", 3)
    log.move("b", 3)
    assert len(log) == 3
    log.forget_below(2)
    assert (len(log), log.first, log.num_bytes) == (1, 2, 10)


def test_checkpoint_alone_takes_nothing_from_a_reader() -> None:
    log = filled()
    log.move("a", 3)
    log.forget_below(3)
    assert len(log) == 3
    log.move("b", 2)
    assert log.first == 2


def test_empty_log_takes_a_block_of_any_size() -> None:
    log = BlockLog(5, {"a": 0})
    assert log.has_room(1000)
    log.append(block(0, 1000))
    assert not log.has_room(1)


def test_lag_counts_blocks_that_a_reader_has_not_read() -> None:
    log = filled()
    log.move("a", 2)
    assert (log.lag("a"), log.lag("b")) == (1, 3)


def test_reader_that_restarts_may_go_back() -> None:
    log = filled()
    log.move("a", 3)
    log.move("a", 1)
    log.move("b", 3)
    log.forget_below(3)
    assert log.first == 1 and log.get(0) is None and log.get(1) == block(1)


@given(st.integers(10, 60), st.lists(st.tuples(st.sampled_from("abw"), st.integers(1, 4)), max_size=60))
def test_what_a_reader_has_not_read_is_never_dropped(max_bytes: int, turns: list[tuple[str, int]]) -> None:
    log, cursors, next_block = BlockLog(max_bytes, {"a": 0, "b": 0}), {"a": 0, "b": 0}, 0
    for who, steps in turns:
        if who == "w":
            if log.has_room(10):
                log.append(block(next_block))
                next_block += 1
        else:
            cursors[who] = min(next_block, cursors[who] + steps)
            log.move(who, cursors[who])
        assert all(log.get(number) for number in range(min(cursors.values()), next_block))
        assert log.num_bytes == 10 * len(log) <= max(10, max_bytes)


@given(st.integers(10, 60), st.integers(0, 60), st.lists(st.tuples(st.sampled_from("abw"), st.integers(1, 4))))
def test_neither_memory_nor_disk_holds_more_than_it_may(
    max_bytes: int, max_spool_bytes: int, turns: list[tuple[str, int]]
) -> None:
    on_disk: set[int] = set()
    log = BlockLog(max_bytes, {"a": 0, "b": 0}, max_spool_bytes, on_disk.remove)
    cursors, next_block = {"a": 0, "b": 0}, 0
    for who, steps in turns:
        if who == "w":
            while not log.has_room(10) and (moved := log.to_spool()) is not None:
                on_disk.add(moved.number)
                log.spooled(moved.number)
            if log.has_room(10):
                log.append(block(next_block))
                next_block += 1
        else:
            cursors[who] = min(next_block, cursors[who] + steps)
            log.move(who, cursors[who])
        held = [log.get(number) for number in range(min(cursors.values()), next_block)]
        assert all(held)
        assert {number for number in range(next_block) if (one := log.get(number)) and one.is_spooled} == on_disk
        assert log.num_bytes <= max(10, max_bytes) and log.spool_bytes == 10 * len(on_disk) <= max_spool_bytes


def test_a_reader_that_yields_holds_up_nobody_and_nothing_goes_before_room_is_needed() -> None:
    log = BlockLog(30, {"a": 0, "slow": 0}, yielding=frozenset({"slow"}))
    for number in range(3):
        assert log.has_room(10)
        log.append(block(number))
    log.move("a", 2)
    log.forget_below(3)
    assert log.get(0) is not None, "room is not needed yet"
    assert log.has_room(10) and log.get(0) is None and log.get(1) is not None
    log.append(block(3))
    assert log.has_room(10)
    log.append(block(4))
    assert not log.has_room(10), "a has not read block 2"


def test_of_readers_that_all_yield_the_foremost_does_not() -> None:
    log = BlockLog(20, {"a": 0, "b": 0}, yielding=frozenset({"a", "b"}))
    log.append(block(0))
    log.append(block(1))
    assert not log.has_room(10)
    log.move("b", 1)
    assert log.has_room(10) and log.first == 1
