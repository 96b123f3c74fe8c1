"""`make fuzz`: ten thousand damaged inputs, and a table of what came of them.

python -m tests.fuzz --number 10000 --seed 0 [--target NAME] [--table FILE]
"""

import argparse
import os
import sys
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from tests.fuzz.attempt import Verdict
from tests.fuzz.campaign import Tally, run_target
from tests.fuzz.targets import SHARES


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--number", type=int, default=10_000, help="inputs in all")
    parser.add_argument("--seed", type=int, default=0, help="of the first input of each target")
    parser.add_argument("--target", choices=list(SHARES), help="all inputs to this one")
    parser.add_argument("--table", type=Path, help="where the table goes, beside the terminal")
    options = parser.parse_args()
    shares = {options.target: 1000} if options.target else SHARES
    tallies = []
    for name, share in shares.items():
        count = -(-options.number * share // 1000)
        tallies.append(run_target(name, range(options.seed, options.seed + count), _teller(name)))
        print(f"{name}: {tallies[-1].tried} in {tallies[-1].seconds:.0f} s", flush=True)
    print(found := table(tallies))
    if options.table:
        options.table.write_text(f"{found}\n")
    return 1 if any(one.failures for one in tallies) else 0


def _teller(name: str):  # type: ignore[no-untyped-def]
    def tell(verdict: Verdict) -> None:
        print(f"--- {name} {verdict.seed}: {verdict.failure}", flush=True)

    return tell


def table(tallies: list[Tally]) -> str:
    """As Markdown."""
    lines = ["| input | tried | refused in a sentence | taken | failed |", "|---|---|---|---|---|"]
    for one in tallies:
        taken = one.tried - one.refused - len(one.failures)
        lines.append(f"| {one.name} | {one.tried} | {one.refused} | {taken} | {len(one.failures)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
