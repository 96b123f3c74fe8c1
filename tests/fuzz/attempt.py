"""One damaged input, one verdict."""

import random
import shutil
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psutil

from shared.errors import HeadraceError
from tests.fuzz.target import Target

SLOW_CPU_S = 10.0
"""Of processor time: no input here is larger than some hundred kilobytes."""
GROWN_BYTES = 400 * 2**20
LONGEST_SENTENCE = 1000


class Verdict(NamedTuple):
    """What came of one input."""

    seed: int
    refused: str | None
    """The sentence; None: it was taken."""
    failure: str | None
    """What is wrong; None: nothing."""


def attempt(target: Target, seed: int, folder: Path) -> Verdict:
    """Feeds `target` with the input of `seed`, in `folder`, which is emptied before."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    draw = random.Random(f"{target.name} {seed}")
    target.lay(draw, folder)
    before, memory, begun_s = listing(folder), psutil.Process().memory_info().rss, time.process_time()
    refused = None
    try:
        target.feed(draw, folder)
    except HeadraceError as error:
        refused = str(error)
    except Exception:
        return Verdict(seed, None, traceback.format_exc(limit=-12))
    spent_s, grown = time.process_time() - begun_s, psutil.Process().memory_info().rss - memory
    wrong = list(_complaints(refused, spent_s, grown))
    after = listing(folder)
    if after != before and (refused is not None or not target.writes):
        wrong.append(f"files changed: {sorted(after ^ before)[:5]}")
    if any(name.endswith(".tmp") for name, _ in after):
        wrong.append("a temporary file is left")
    return Verdict(seed, refused, "; ".join(wrong) or None)


def listing(folder: Path) -> set[tuple[str, int]]:
    """Names and sizes of all that is in `folder`."""
    return {(str(path.relative_to(folder)), path.lstat().st_size * path.is_file()) for path in folder.rglob("*")}


def _complaints(refused: str | None, spent_s: float, grown: int) -> Iterator[str]:
    if spent_s > SLOW_CPU_S:
        yield f"took {spent_s:.0f} s of processor time"
    if grown > GROWN_BYTES:
        yield f"took {grown / 2**20:.0f} MiB of memory"
    if refused is None:
        return
    if "\n" in refused.strip() or "Traceback" in refused:
        yield f"more than one line: {refused!r}"
    if not refused.strip() or len(refused) > LONGEST_SENTENCE:
        yield f"no sentence for a person: {len(refused)} characters, {refused[:200]!r}"
