"""The table of `headrace features search` in a terminal of 80 columns."""

from io import StringIO

from rich.console import Console

from cluster.feature_search import Found
from cluster.search_table import search_view


def test_names_are_whole_where_contexts_are_long() -> None:
    context = ("a long beginning of forty letters or more", " def", " and an end that is as long as the beginning")
    numbers = {"share": 1.0, "contexts": 11, "loss_rise_positive": 0.25}
    console = Console(file=StringIO(), width=80)
    console.print(search_view([Found("topk-2048", 1347, numbers, "", context), Found("relu", 7, numbers, "", context)]))
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    lines = printed.splitlines()
    assert [line.split()[:2] for line in lines[2:]] == [["topk-2048", "1347"], ["relu", "7"]]
    assert all("def" in line and len(line) <= 80 for line in lines[2:])
