"""`headrace compare`: compares runs and leaves what was found in a folder, for people and for programs."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.compare_page import compare_page
from cluster.comparison import Comparison, OnStep, compare_suite, comparison_facts
from cluster.suite import read_suite
from shared.files import write_atomically
from trainers.dictionary_match import SAME

PAGE = "compare.html"
FACTS = "compare.json"


@dataclass(frozen=True)
class Compared:
    """A comparison and where it lies."""

    comparison: Comparison
    facts: dict[str, Any]
    page: Path


def run_compare(
    runs: Sequence[Path],
    folder: Path | None = None,
    which: str = "sizes",
    same: float = SAME,
    on_step: OnStep = lambda words: None,
) -> Compared:
    """Compares `runs` into `folder`, or `compare/` of the first run.

    Raises:
        UserError: one is no run folder, or an SAE cannot be read.
    """
    suite = read_suite(runs)
    folder = folder or runs[0] / "compare"
    folder.mkdir(parents=True, exist_ok=True)
    comparison = compare_suite(suite, which, same, folder, on_step)
    on_step("writing")
    facts = comparison_facts(comparison)
    write_atomically(folder / FACTS, (json.dumps(facts, indent=2) + "\n").encode())
    write_atomically(folder / PAGE, compare_page(comparison).encode())
    return Compared(comparison, facts, folder / PAGE)
