"""Many schedules, each in a process that runs nothing else.

A world replaces clocks, locks and files in the modules of `shared` and `cluster`, so any other thread of its process
that is in them would wait, or go on, in the middle of it: a schedule would not be a function of its seed any more.
"""

import logging
import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from shared.embedded_redis import EmbeddedRedis
from tests.chaos.simulation.schedule import run_schedule
from tests.memory_folder import memory_folder

SHARE = 50
"""Schedules that a process runs on one server of its own."""


def run_schedules(seeds: range, num_processes: int | None = None) -> Iterator[tuple[range, dict[int, str]]]:
    """Shares of `seeds` as they are done, in order: for each schedule that failed, what was wrong."""
    shares = [seeds[start : start + SHARE] for start in range(0, len(seeds), SHARE)]
    context = multiprocessing.get_context("spawn")
    num_processes = num_processes or os.cpu_count() or 1
    with ProcessPoolExecutor(num_processes, context, logging.disable, (logging.CRITICAL,)) as pool:
        yield from zip(shares, pool.map(run_share, shares), strict=True)


def run_share(seeds: range) -> dict[int, str]:
    """The schedules of `seeds` one after another: those that failed, and how."""
    failed: dict[int, str] = {}
    with memory_folder("schedules") as folder:
        embedded = EmbeddedRedis(Path(folder))
        with embedded.connect() as client:
            for seed in seeds:
                try:
                    run_schedule(seed, client, Path(folder) / str(seed))
                except Exception as error:
                    failed[seed] = f"{type(error).__name__}: {error}"
        embedded.stop()
    return failed
