"""A journal's lines stay whatever happens while it is written."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from features.journal import Journal


def records(path: Path) -> list[dict]:
    return [line.record for line in Journal(path).lines()]


def test_what_was_added_is_read_in_order(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "new" / "j.jsonl")
    assert journal.lines() == [] and journal.damage == []
    journal.append([{"n": 1}, {"n": 2, "text": "zwei\nü\u2028"}])
    journal.append([{"n": 3}])
    assert [line.record["n"] for line in journal.lines()] == [1, 2, 3]
    assert records(journal.path) == [line.record for line in journal.lines()]
    assert [journal.at(line.offset) for line in journal.lines()] == records(journal.path)


def test_a_line_that_was_cut_off_is_named_and_harms_no_other(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    Journal(path).append([{"n": 1}, {"n": 2}])
    path.write_bytes(path.read_bytes()[:-3])
    journal = Journal(path)
    assert [line.record["n"] for line in journal.lines()] == [1]
    assert journal.damage == ["j.jsonl line 2 is cut off"]
    journal.append([{"n": 3}])
    assert [line.record["n"] for line in journal.lines()] == [1, 3]
    assert journal.damage == ["j.jsonl line 2 is damaged: it is not a JSON object"]


def test_every_place_where_a_crash_may_cut_leaves_the_lines_before(tmp_path: Path) -> None:
    whole = b"".join(json.dumps({"n": n, "text": "äöü"}, ensure_ascii=False).encode() + b"\n" for n in range(3))
    for cut in range(len(whole) + 1):
        path = tmp_path / "j.jsonl"
        path.write_bytes(whole[:cut])
        journal = Journal(path)
        before = [line.record["n"] for line in journal.lines()]
        assert before == list(range(whole[:cut].count(b"\n")))
        journal.append([{"n": 9}])
        cut_off_but_whole = [before[-1] + 1 if before else 0] if whole[cut : cut + 1] == b"\n" else []
        assert [line.record["n"] for line in journal.lines()] == [*before, *cut_off_but_whole, 9]


def test_lines_of_another_shape_are_named(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    path.write_text('{"n": 1}\n[1]\n{"m": 1}\nnull\n{"n": 2, "long": 5}\n')
    journal = Journal(path, required=("n",), left_out=("long",))
    assert [line.record for line in journal.lines()] == [{"n": 1}, {"n": 2}]
    assert journal.at(journal.lines()[1].offset) == {"n": 2, "long": 5}
    assert [one.split(":")[0] for one in journal.damage] == [f"j.jsonl line {n} is damaged" for n in (2, 3, 4)]


def test_numbers_that_json_has_not_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.jsonl")
    with pytest.raises(ValueError, match="not JSON compliant"):
        journal.append([{"n": 1}, {"n": float("nan")}])
    assert not journal.path.exists()


def test_writers_at_the_same_time_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"

    def write_many(writer: int) -> None:
        for n in range(40):
            Journal(path).append([{"writer": writer, "n": n, "filling": "x" * 5000}])

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(write_many, range(3)))
    found = records(path)
    for writer in range(3):
        assert [one["n"] for one in found if one["writer"] == writer] == list(range(40))
    assert len(found) == 120 and Journal(path).damage == []
