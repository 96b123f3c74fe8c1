import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import CheckpointError
from shared.reservoir import SNAPSHOT_ROWS, Reservoir
from shared.row_table import STORAGE, RowFormat, Rows

FORMAT = RowFormat("job", "model", "main", {"h.0": 3, "h.1": 1}, "float32")


def rows_of(start: int, num_rows: int, row_format: RowFormat = FORMAT) -> Rows:
    """Rows that say in every column which they are."""
    rows, numbers = row_format.empty(num_rows), np.arange(start, start + num_rows)
    rows.addresses[:] = numbers[:, None]
    for values in rows.activations.values():
        values[:] = numbers[:, None] % 1000
    return rows


def put_in(reservoir: Reservoir, rows: Rows) -> None:
    slots = reservoir.take_free(rows.num_rows)
    reservoir.write(slots, rows)
    reservoir.admit(slots)


def take_out(reservoir: Reservoir, num_rows: int, row_format: RowFormat = FORMAT) -> list[int]:
    """Draws and lets go; the numbers of the rows, each checked to be whole."""
    slots, out = reservoir.draw(num_rows), row_format.empty(num_rows)
    reservoir.gather(slots, out)
    reservoir.release(slots)
    numbers = out.addresses[:, 0]
    assert (out.addresses == numbers[:, None]).all()
    for values in out.activations.values():
        assert (values == (numbers[:, None] % 1000).astype(values.dtype)).all()
    return [int(number) for number in numbers]


@given(st.integers(0, 99), st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), max_size=30))
def test_what_goes_in_comes_out_once(seed: int, turns: list[tuple[int, int]]) -> None:
    reservoir, put, taken = Reservoir(FORMAT, 40, (seed,)), 0, []
    for num_in, num_out in turns:
        num_in = min(num_in, reservoir.num_free)
        put_in(reservoir, rows_of(put, num_in))
        put += num_in
        taken += take_out(reservoir, min(num_out, reservoir.num_live))
        assert reservoir.num_live == put - len(taken) and reservoir.num_free == 40 - reservoir.num_live
    taken += take_out(reservoir, reservoir.num_live)
    assert sorted(taken) == list(range(put))


def test_draws_are_uniform_over_rows_and_places() -> None:
    num_rows, num_drawn, num_tries = 12, 4, 6000
    counts = np.zeros((num_drawn, num_rows))
    for seed in range(num_tries):
        reservoir = Reservoir(FORMAT, num_rows, (seed,))
        put_in(reservoir, rows_of(0, num_rows))
        counts[range(num_drawn), take_out(reservoir, num_drawn)] += 1
    expected = num_tries / num_rows
    chi_squared, freedom = ((counts - expected) ** 2 / expected).sum(), num_drawn * (num_rows - 1)
    assert chi_squared < freedom + 4 * math.sqrt(2 * freedom), "four standard deviations; the seeds are fixed"


def test_every_pair_is_as_likely() -> None:
    pairs: Counter[tuple[int, ...]] = Counter()
    for seed in range(6000):
        reservoir = Reservoir(FORMAT, 6, (seed,))
        put_in(reservoir, rows_of(0, 6))
        pairs[tuple(sorted(take_out(reservoir, 2)))] += 1
    assert len(pairs) == 15
    assert sum((count - 400) ** 2 / 400 for count in pairs.values()) < 14 + 4 * math.sqrt(28)


def test_rows_that_stay_are_as_mixed_as_those_that_go() -> None:
    stayed = np.zeros(10)
    for seed in range(3000):
        reservoir = Reservoir(FORMAT, 10, (seed,))
        put_in(reservoir, rows_of(0, 10))
        take_out(reservoir, 4)
        stayed[take_out(reservoir, 6)] += 1
    assert (np.abs(stayed - 1800) < 5 * math.sqrt(3000 * 0.6 * 0.4)).all()


def test_seed_alone_fixes_the_draws() -> None:
    def draws(seed: tuple[int, ...]) -> list[int]:
        reservoir = Reservoir(FORMAT, 50, seed)
        put_in(reservoir, rows_of(0, 50))
        return take_out(reservoir, 20) + take_out(reservoir, 30)

    assert draws((1, 0)) == draws((1, 0))
    assert draws((1, 0)) != draws((1, 1))


def test_slots_in_which_rows_lie_change_nothing() -> None:
    tidy, untidy = Reservoir(FORMAT, 30, (3,)), Reservoir(FORMAT, 30, (3,))
    held = untidy.take_free(7)
    put_in(tidy, rows_of(0, 20))
    later = untidy.take_free(10)
    put_in(untidy, rows_of(0, 10))
    untidy.write(later, rows_of(10, 10))
    untidy.admit(later)
    untidy.release(held)
    assert take_out(tidy, 20) == take_out(untidy, 20)


@pytest.mark.parametrize("dtype", STORAGE)
@pytest.mark.parametrize("num_rows", [0, 100, SNAPSHOT_ROWS + 5])
def test_snapshot_goes_on_with_the_same_draws(tmp_path: Path, dtype: str, num_rows: int) -> None:
    row_format = RowFormat("job", "model", "main", {"h.0": 2}, dtype)
    first = Reservoir(row_format, num_rows + 10, (7, 1))
    put_in(first, rows_of(0, num_rows + 10, row_format))
    take_out(first, 10, row_format)
    state = first.save(tmp_path / "rows.arrow")
    second = Reservoir(row_format, num_rows + 500, (0,))
    second.restore(tmp_path / "rows.arrow", state)
    for reservoir in (first, second):
        put_in(reservoir, rows_of(num_rows + 10, 10, row_format))
    num_live = first.num_live
    assert second.num_live == num_live
    assert take_out(first, num_live, row_format) == take_out(second, num_live, row_format)


def test_snapshot_of_another_job_is_refused(tmp_path: Path) -> None:
    other = RowFormat("other", "model", "main", {"h.0": 3, "h.1": 1}, "float32")
    reservoir = Reservoir(other, 10, (1,))
    put_in(reservoir, rows_of(0, 10, other))
    state = reservoir.save(tmp_path / "rows.arrow")
    with pytest.raises(CheckpointError, match=r"rows.arrow: row table has job 'other', this job has 'job'"):
        Reservoir(FORMAT, 10, (1,)).restore(tmp_path / "rows.arrow", state)


@pytest.mark.parametrize("content", [b"", b"not Arrow at all"])
def test_damaged_snapshot_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "rows.arrow").write_bytes(content)
    with pytest.raises(CheckpointError, match="rows"):
        Reservoir(FORMAT, 10, (1,)).restore(tmp_path / "rows.arrow", {})
