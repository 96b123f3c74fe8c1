"""All benchmarks, side by side in one run, against what Headrace aims at: `python -m benchmarks`, or `--quick`.

Whole: about a quarter of an hour on two free cores; `--quick`: under three minutes, with fewer rounds and shorter jobs,
enough to see that nothing broke. Every benchmark is a process of its own; what it prints is passed on. The last line is
one JSON. A goal that is missed is shown, and is no failure: it may be the machine's neighbours.
"""

import argparse
import json
import subprocess
import sys
from typing import Any, NamedTuple

from benchmarks.measure import ROOT, emit


class Goal(NamedTuple):
    """What a number should be at least."""

    benchmark: str
    name: str
    at_least: float
    path: tuple[str | int, ...]
    """Where it stands in the benchmark's results."""
    is_quick: bool = True
    """Whether `--quick` runs for long enough to tell."""


COMMANDS: dict[str, tuple[list[str], list[str]]] = {
    "lane": ([], ["--rounds", "3"]),
    "producer": ([], ["--rounds", "3", "--width", "256"]),
    "trainer_step": ([], ["--repeats", "3", "--num-latents", "1024"]),
    "collect": (
        ["--rounds", "3", "--warmups", "1"],
        ["--rounds", "2", "--warmups", "1", "--units", "1", "--width", "128"],
    ),
    "job": ([], ["--rounds", "1", "--tokens", "32768", "--num-latents", "1024", "2048"]),
}
"""Benchmark -> options when whole, options when quick."""

GOALS = (
    Goal("lane", "lane, width 768, GiB/s of rows", 0.7, (0, "lane_gib_per_s", "median")),
    Goal("lane", "lane, width 4096, GiB/s of rows", 2.0, (1, "lane_gib_per_s", "median")),
    Goal("producer", "producer of a bare loop, tokenised, width 256", 0.8, (0, "tokens_of_bare", "median")),
    Goal("producer", "producer of a bare loop, text, width 256", 0.8, (0, "text_of_bare", "median")),
    Goal("producer", "producer of a bare loop, text, width 768", 0.9, (1, "text_of_bare", "median")),
    Goal("trainer_step", "SAELens' step over ours, theirs sparse, smallest", 1.0, (0, "ratio_sparse")),
    Goal("collect", "collecting of the bare producer, width 128", 0.5, ("collect", 0, "collected_of_bare", "median")),
    Goal("collect", "collecting of the bare producer, width 768", 0.5, ("collect", 1, "collected_of_bare", "median")),
    Goal("job", "whole job over SAELens', steady", 1.0, ("steady_ratio", "median")),
    Goal("job", "whole job over SAELens', by processor time", 1.0, ("steady_cpu_ratio", "median")),
    Goal("job", "whole job over SAELens', wall, start included", 1.0, ("wall_ratio", "median"), is_quick=False),
)
"""Those of DESIGN.md and, where they are lower, the first ones to be held."""


def run_one(benchmark: str, options: list[str]) -> Any:
    """Results of one benchmark, printed as they come. Raises SystemExit if it fails."""
    print(f"\n{benchmark}", flush=True)
    command = [sys.executable, "-m", f"benchmarks.bench_{benchmark}", *options]
    last = ""
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout or ():
            if not line.startswith("{"):
                print("  " + line, end="", flush=True)
            last = line
    if process.returncode:
        raise SystemExit(f"bench_{benchmark} ended with {process.returncode}")
    return json.loads(last)["results"]


def reached(results: dict[str, Any], is_quick: bool) -> list[dict[str, Any]]:
    """Every goal whose benchmark measured it, and what was found."""
    found = []
    for goal in GOALS:
        value = _at(results.get(goal.benchmark), goal.path)
        if value is not None and (goal.is_quick or not is_quick):
            found.append({"goal": goal.name, "at_least": goal.at_least, "found": value, "held": value >= goal.at_least})
    return found


def _at(results: Any, path: tuple[str | int, ...]) -> float | None:
    for key in path:
        try:
            results = results[key]
        except (KeyError, IndexError, TypeError):
            return None
    return float(results)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", nargs="+", choices=list(COMMANDS), default=list(COMMANDS))
    arguments = parser.parse_args()
    results = {name: run_one(name, COMMANDS[name][arguments.quick]) for name in arguments.only}
    goals = reached(results, arguments.quick)
    print(f"\n{'goal':48} {'at least':>8} {'found':>8}")
    for one in goals:
        print(f"{one['goal']:48} {one['at_least']:8.2f} {one['found']:8.2f}{'' if one['held'] else '   missed'}")
    print()
    emit("all", vars(arguments), {"goals": goals, **results})


if __name__ == "__main__":
    main()
