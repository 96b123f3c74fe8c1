"""Thousands of inputs in processes that may crash or hang, which ends one input and not the others."""

import contextlib
import logging
import multiprocessing
import os
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import psutil

from shared.embedded_redis import EmbeddedRedis
from tests.fuzz.attempt import Verdict, attempt
from tests.fuzz.targets import TARGETS

PATIENCE_CPU_S = 60.0
"""Of processor time, for one input or for making what is sound; an input that takes more hangs."""
PATIENCE_S = 600.0
"""The same by the clock, for one that waits for something; machines may be busy."""
LOOK_S = 5.0
ROOM_BYTES = 3 * 2**30
"""Of address space, beside what a worker has when it begins: what asks for more is refused by the system."""


@dataclass
class Tally:
    """What came of one target's inputs."""

    name: str
    tried: int = 0
    refused: int = 0
    seconds: float = 0.0
    failures: list[Verdict] = field(default_factory=list)


def run_target(name: str, seeds: range, tell: Callable[[Verdict], None] = lambda verdict: None) -> Tally:
    """Feeds `name` with the inputs of `seeds`; each failure is told at once."""
    tally, begun_s = Tally(name), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="headrace-fuzz-") as folder:
        for verdict in _verdicts(name, seeds, Path(folder)):
            tally.tried += 1
            tally.refused += verdict.refused is not None
            if verdict.failure:
                tally.failures.append(verdict)
                tell(verdict)
    tally.seconds = time.monotonic() - begun_s
    return tally


def _verdicts(name: str, seeds: range, folder: Path) -> Iterator[Verdict]:
    """One for each seed; a worker that dies on one is followed by another for the seeds after it."""
    left = seeds
    while left:
        for verdict in _of_one_worker(name, left, folder):
            yield verdict
            left = range(verdict.seed + 1, seeds.stop)


def _of_one_worker(name: str, seeds: range, folder: Path) -> Iterator[Verdict]:
    """Up to the first seed on which the worker dies or hangs, that one included."""
    context = workers()
    here, there = context.Pipe(duplex=False)
    worker: Any = context.Process(target=work, args=(name, seeds, folder, there))
    worker.start()
    there.close()
    at = seeds.start
    try:
        while at < seeds.stop:
            if not _answers(here, worker.pid):
                yield Verdict(at, None, "hangs")
                return
            try:
                yield (verdict := here.recv())
            except EOFError:
                worker.join(10)
                yield Verdict(at, None, f"the process died with {worker.exitcode}")
                return
            at = verdict.seed + 1
    finally:
        here.close()
        with contextlib.suppress(ProcessLookupError, TypeError):
            if at < seeds.stop:
                worker.kill()
        worker.join(30)
        for left in folder.glob("ground-*"):
            EmbeddedRedis(left).stop()  # of a worker that could not do it itself


def _answers(here: Connection, pid: int) -> bool:
    """Whether an answer comes, or an end, before patience is over."""
    begun_s, spent_s = time.monotonic(), _cpu_s(pid)
    while not here.poll(LOOK_S):
        if time.monotonic() - begun_s > PATIENCE_S or _cpu_s(pid) - spent_s > PATIENCE_CPU_S:
            return False
    return True


def _cpu_s(pid: int) -> float:
    with contextlib.suppress(psutil.NoSuchProcess):
        times = psutil.Process(pid).cpu_times()
        return float(times.user + times.system)
    return 0.0


def workers() -> ForkServerContext:
    """Processes that have imported everything already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.fuzz.targets"])
    return context


def work(name: str, seeds: range, folder: Path, answers: Connection) -> None:
    """In a worker: sends a verdict for each seed."""
    import torch

    torch.set_num_threads(1)
    logging.disable(logging.CRITICAL)
    os.chdir(folder)
    target = TARGETS[name](Path(tempfile.mkdtemp(prefix="ground-", dir=folder)))
    _limit_memory()
    try:
        for seed in seeds:
            answers.send(attempt(target, seed, folder / "input"))
    finally:
        target.close()


def _limit_memory() -> None:
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + ROOM_BYTES, resource.getrlimit(resource.RLIMIT_AS)[1]))
