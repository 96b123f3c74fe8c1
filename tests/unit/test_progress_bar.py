"""How far a command has come, where there is no terminal and where there is one."""

from io import StringIO

import pytest
from rich.console import Console

from cluster.progress_bar import one_by_one, progress_bar


def told(terminal: bool) -> str:
    console = Console(file=StringIO(), force_terminal=terminal, width=80)
    with progress_bar("patterns", 200, console) as tell:
        advance = one_by_one(tell)
        for _ in range(200):
            advance()
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_a_log_has_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter(range(0, 10_000))
    monkeypatch.setattr("cluster.progress_bar.time.monotonic", lambda: next(seconds))
    lines = told(terminal=False).splitlines()
    assert 5 <= len(lines) <= 7 and lines[0] == "patterns  15% · 30 of 200"


def test_what_is_soon_over_says_nothing_in_a_log() -> None:
    assert told(terminal=False) == ""


def test_a_terminal_has_a_bar() -> None:
    assert "100%" in told(terminal=True)
