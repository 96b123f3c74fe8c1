"""What came of many faults, as Markdown; of one campaign, or of several whose trials were filed.

python -m tests.chaos.fault_table TRIALS.jsonl …
"""

import statistics
import sys
from collections.abc import Iterable
from pathlib import Path

from tests.chaos.campaign import WEIGHTS
from tests.chaos.fault import Trial

SIGNALS = {"kill": "SIGKILL", "hang": "SIGSTOP", "slow": "stopped 9 of 10 times"}


def table(trials: Iterable[Trial]) -> str:
    """One line for each role and kind of fault, medians with the greatest."""
    tried = [one for one in trials if one.is_tried]
    lines = [
        "| role | fault | tried | survived | detected after, s | back after, s | rows lost | rows done again | dip |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for role, kind in WEIGHTS:
        some = [one for one in tried if (one.fault.role, one.fault.kind) == (role, kind)]
        if some:
            lines.append(_line(role, kind, some))
    lines.append(f"| all | | {len(tried)} | {sum(one.is_survived for one in tried)} | | | {_lost(tried)} | | |")
    return "\n".join(lines)


def _line(role: str, kind: str, some: list[Trial]) -> str:
    survived = sum(one.is_survived for one in some)
    detected, back = _spread([one.detection_s for one in some]), _spread([one.recovery_s for one in some])
    again = _spread([float(one.rows_repeated) for one in some], ".0f")
    dip = _spread([one.dip for one in some], ".0%")
    facts = (role, SIGNALS[kind], len(some), survived, detected, back, _lost(some), again, dip)
    return "| " + " | ".join(map(str, facts)) + " |"


def _lost(some: list[Trial]) -> int:
    return sum(one.rows_lost or 0 for one in some)


def _spread(values: list[float | None], form: str = ".1f") -> str:
    known = [one for one in values if one is not None]
    return f"{statistics.median(known):{form}} (≤ {max(known):{form}})" if known else "-"


if __name__ == "__main__":
    filed = [line for path in sys.argv[1:] for line in Path(path).read_text().splitlines()]
    print(table(map(Trial.from_json, filed)))
