"""Comparisons that a busy machine cannot spoil: sides run in turn (A B A B), and the result is the ratio of neighbours.

A machine that is twice as slow for a minute slows both sides of a round; absolute figures are for orientation only.
Every benchmark ends with one line of JSON: what was asked, what was found, on what machine, with what versions.
"""

import contextlib
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil

ROOT = Path(__file__).resolve().parent.parent
SAMPLE_S = 0.25
PACKAGES = ("torch", "numpy", "pyarrow", "ray", "transformers", "sae-lens")


@dataclass(frozen=True)
class Spread:
    """Several measurements of one thing."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Iterable[float]) -> "Spread":
        """Raises ValueError if there are none."""
        known = list(values)
        if not known:
            raise ValueError("a spread needs at least one value")
        return cls(statistics.median(known), min(known), max(known))

    def __str__(self) -> str:
        return f"{self.median:,.3g} ({self.least:,.3g} to {self.most:,.3g})"


def in_turn(sides: Mapping[str, Callable[[], float]], rounds: int, warmups: int = 0) -> dict[str, list[float]]:
    """What each side measures of itself, round by round; every second round goes the other way about.

    Args:
        warmups: rounds before, whose values are dropped.
    """
    found: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(warmups + rounds):
        names = list(sides) if number % 2 == 0 else list(sides)[::-1]
        values = {name: sides[name]() for name in names}
        if number >= warmups:
            for name, value in values.items():
                found[name].append(value)
    return found


def ratio(over: list[float], under: list[float]) -> Spread:
    """over / under, round by round."""
    return Spread.of(one / other for one, other in zip(over, under, strict=True))


class CommandRun(NamedTuple):
    """A command that ended well."""

    output: str
    wall_s: float
    samples: list[tuple[float, float]]
    """Time, in seconds since 1970, and processor seconds so far of the command and every process under it."""

    @property
    def cpu_s(self) -> float:
        """Processor seconds in all, waits by spinning included; short by at most a sample."""
        return self.samples[-1][1]

    def cpu_between(self, begin_s: float, end_s: float) -> float:
        """Processor seconds between two times since 1970."""
        times, used = zip(*self.samples, strict=True)
        begin, end = np.interp([begin_s, end_s], times, used)
        return float(end - begin)


def run_command(command: list[str], **environment: str) -> CommandRun:
    """Runs `command` in the repository. Raises SystemExit, with the end of what it said, if it fails."""
    begun = time.perf_counter()
    samples = [(time.time(), 0.0)]
    processor_s: dict[int, float] = {}
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:
        process = psutil.Popen(command, cwd=ROOT, env={**os.environ, **environment}, stdout=out, stderr=errors)
        while process.poll() is None:
            processor_s |= _processor_s(process)
            samples.append((time.time(), sum(processor_s.values())))
            time.sleep(SAMPLE_S)
        out.seek(0)
        errors.seek(0)
        if process.returncode:
            raise SystemExit(f"{' '.join(command[:4])} ended with {process.returncode}:\n{errors.read()[-3000:]}")
        return CommandRun(out.read(), time.perf_counter() - begun, samples)


def _processor_s(root: psutil.Process) -> dict[int, float]:
    """Seconds of processor time of each living process of a tree."""
    found = {}
    try:
        for process in (root, *root.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                times = process.cpu_times()
                found[process.pid] = times.user + times.system
    except psutil.Error:
        pass
    return found


def facts() -> dict[str, Any]:
    """Machine, versions and commit."""
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "missing"
    return {"machine": _machine(), "versions": versions, "commit": _commit()}


def emit(benchmark: str, configuration: Mapping[str, Any], results: Any) -> None:
    """The benchmark's last line."""
    known = {name: value for name, value in configuration.items() if isinstance(value, (int, float, str, list, bool))}
    whole = {"benchmark": benchmark, "configuration": known, "results": plain(results), **facts()}
    print(json.dumps(whole), flush=True)


def plain(value: Any) -> Any:
    """`value` as JSON has it, numbers with four digits that count."""
    if isinstance(value, Spread):
        return plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


def _machine() -> dict[str, Any]:
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load": [round(one, 1) for one in os.getloadavg()],
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.machine()


def _commit() -> str:
    """The checkout's commit, with `+` where tracked files differ from it."""
    try:
        commit = _git("rev-parse", "--short", "HEAD")
        return commit + ("+" if _git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()
