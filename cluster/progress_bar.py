"""How far a command has come: a bar on a terminal, anywhere else a line now and then."""

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from cluster.wording import count, percent

LINE_S = 30.0


@contextmanager
def progress_bar(what: str, total: int, console: Console) -> Iterator[Callable[[int], None]]:
    """Gives what is to be told how much of `total` is done."""
    if not console.is_terminal:
        yield _lines(what, total, console)
        return
    columns = (TextColumn(what), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=total)
        yield lambda done: bar.update(task, completed=min(done, total))


def one_by_one(tell: Callable[[int], None]) -> Callable[[], None]:
    """What is to be called at each of them."""
    done = itertools.count(1)
    return lambda: tell(next(done))


def _lines(what: str, total: int, console: Console) -> Callable[[int], None]:
    told_s = time.monotonic()

    def tell(done: int) -> None:
        nonlocal told_s
        if time.monotonic() - told_s >= LINE_S:
            told_s = time.monotonic()
            share = percent(min(1.0, done / total))
            console.print(f"{what}  {share} · {count(done)} of {count(total)}", highlight=False)

    return tell
