import random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from shared.reorder import Reorder, Turn

UNITS = st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=4), min_size=1, max_size=6)
"""For each unit, the rows of its chunks."""


def slots_of(unit: int, chunk: int, num_rows: int) -> np.ndarray:
    return 10_000 * unit + 100 * chunk + np.arange(num_rows)


def expected(units: list[list[int]]) -> list[int]:
    return [
        int(slot)
        for unit, chunks in enumerate(units)
        for chunk, rows in enumerate(chunks)
        for slot in slots_of(unit, chunk, rows)
    ]


def push(reorder: Reorder, units: list[list[int]], unit: int, chunk: int) -> Turn:
    turn = reorder.turn(unit, chunk)
    if turn is Turn.TAKE:
        num_rows = units[unit][chunk]
        dropped = reorder.rows_to_drop(unit, num_rows)
        slots = slots_of(unit, chunk, num_rows)[dropped:]
        reorder.add(unit, chunk, slots, dropped, last=chunk + 1 == len(units[unit]))
    return turn


def taken(reorder: Reorder, max_rows: int = 10**9) -> list[int]:
    return [int(slot) for piece in reorder.take_out(max_rows) for slot in piece]


@given(UNITS, st.integers(0, 2**32), st.integers(1, 7))
def test_rows_come_out_in_order_whoever_comes_first(units: list[list[int]], seed: int, max_rows: int) -> None:
    rng, reorder, out = random.Random(seed), Reorder(), []
    waiting = {unit: 0 for unit in range(len(units))}
    while waiting:
        unit = rng.choice(sorted(waiting))
        assert push(reorder, units, unit, waiting[unit]) is Turn.TAKE
        assert push(reorder, units, unit, waiting[unit]) is Turn.DUPLICATE
        waiting[unit] += 1
        if waiting[unit] == len(units[unit]):
            del waiting[unit]
        out += taken(reorder, max_rows) if rng.random() < 0.5 else []
    assert out + taken(reorder) == expected(units)
    assert reorder.num_rows == 0 and reorder.head == len(units)


@given(UNITS, st.integers(0, 60), st.data())
def test_head_and_rows_out_are_all_that_a_restore_needs(units: list[list[int]], stop: int, data: st.DataObject) -> None:
    first = Reorder()
    for unit, chunks in enumerate(units):
        for chunk in range(len(chunks)):
            push(first, units, unit, chunk)
    before = taken(first, min(stop, len(expected(units))))
    second = Reorder(first.head, first.head_rows_out)
    for unit in data.draw(st.permutations(range(len(units)))):
        for chunk in range(len(units[unit])):
            push(second, units, unit, chunk)
    assert before + taken(second) == expected(units)


def test_chunk_before_its_turn_waits() -> None:
    assert Reorder().turn(0, 1) is Turn.WAIT


def test_unit_set_aside_lets_those_after_it_out() -> None:
    units, reorder = [[2, 2], [3], [1]], Reorder()
    push(reorder, units, 0, 0)
    push(reorder, units, 2, 0)
    reorder.skip(1)
    assert taken(reorder) == [0, 1], "unit 0 is not whole"
    reorder.skip(0)
    assert taken(reorder) == [20_000]
    assert reorder.turn(0, 1) is Turn.DUPLICATE and reorder.turn(1, 0) is Turn.DUPLICATE


def test_what_waits_at_the_head_is_counted() -> None:
    units, reorder = [[2, 3], [4]], Reorder()
    push(reorder, units, 1, 0)
    assert (reorder.waiting_at_head(), reorder.num_rows) == (0, 4)
    push(reorder, units, 0, 0)
    assert (reorder.waiting_at_head(), reorder.num_rows) == (2, 6)


def test_clearing_gives_every_slot_back() -> None:
    units, reorder = [[2], [3]], Reorder()
    push(reorder, units, 1, 0)
    push(reorder, units, 0, 0)
    assert sorted(int(slot) for piece in reorder.clear() for slot in piece) == expected(units)
    assert reorder.num_rows == 0
