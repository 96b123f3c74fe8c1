"""How benchmarks pair their sides and put numbers down."""

import json
import sys

import pytest

from benchmarks.__main__ import reached
from benchmarks.measure import CommandRun, Spread, emit, in_turn, plain, ratio, run_command


def test_in_turn_alternates_the_order_and_drops_warmups() -> None:
    order: list[str] = []

    def side(name: str) -> float:
        order.append(name)
        return float(len(order))

    found = in_turn({"a": lambda: side("a"), "b": lambda: side("b")}, rounds=2, warmups=1)
    assert order == ["a", "b", "b", "a", "a", "b"]
    assert found == {"a": [4.0, 5.0], "b": [3.0, 6.0]}


def test_a_ratio_is_of_neighbours_not_of_medians() -> None:
    assert ratio([2.0, 20.0, 6.0], [1.0, 10.0, 2.0]) == Spread(2.0, 2.0, 3.0)


def test_a_spread_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one value"):
        Spread.of([])


def test_plain_keeps_four_digits() -> None:
    assert plain({"x": Spread(1.23456, 0.1, 123456.0), "n": [1, "s"]}) == {
        "x": {"median": 1.235, "least": 0.1, "most": 123500.0},
        "n": [1, "s"],
    }


def test_the_last_line_is_one_json(capsys: pytest.CaptureFixture[str]) -> None:
    emit("lane", {"rounds": 3, "function": len}, {"x": 1.0})
    whole = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert whole["configuration"] == {"rounds": 3}
    assert set(whole) == {"benchmark", "configuration", "results", "machine", "versions", "commit"}


def test_a_command_is_timed_with_the_processes_under_it() -> None:
    burn = "import time; t = time.process_time()\nwhile time.process_time() < t + 0.6: pass"
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {burn!r}]); print('done')"
    run = run_command([sys.executable, "-c", child])
    assert run.output == "done\n"
    assert 0.2 < run.cpu_s < 5 and run.wall_s > 0.5


def test_processor_time_between_two_moments_is_interpolated() -> None:
    run = CommandRun("", 10.0, [(100.0, 0.0), (104.0, 4.0), (110.0, 16.0)])
    assert run.cpu_between(102.0, 107.0) == pytest.approx(8.0)
    assert run.cpu_s == 16.0


def test_a_command_that_fails_says_why() -> None:
    with pytest.raises(SystemExit, match="no such thing"):
        run_command([sys.executable, "-c", "raise SystemExit('no such thing')"])


def test_goals_are_looked_up_and_those_not_measured_left_out() -> None:
    found = reached({"lane": [{"lane_gib_per_s": {"median": 0.9}}]}, is_quick=True)
    assert [(one["found"], one["held"]) for one in found] == [(0.9, True)]


def test_a_short_run_is_not_held_to_what_only_a_long_one_shows() -> None:
    results = {"job": {"wall_ratio": {"median": 0.4}}}
    assert reached(results, is_quick=True) == []
    assert [one["held"] for one in reached(results, is_quick=False)] == [False]
