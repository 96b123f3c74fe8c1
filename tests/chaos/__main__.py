"""`make chaos`: ten thousand schedules, then real faults in real jobs; a table of both.

python -m tests.chaos --schedules 10000 --faults 200 --seed 0 [--trials FILE] [--table FILE]
"""

import argparse
import logging
import os
import secrets
import sys
import time
from functools import partial
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("RAY_AUTH_MODE", "token")  # before anything imports ray, which reads it once
os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
os.environ.setdefault("RAY_health_check_failure_threshold", "60")  # on a busy machine Ray gives its own node up at 5

from tests.chaos.campaign import run_campaign
from tests.chaos.fault import Trial
from tests.chaos.fault_table import table
from tests.chaos.simulation.fleet import run_schedules


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--schedules", type=int, default=10_000)
    parser.add_argument("--faults", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--table", type=Path, help="where the table goes, beside the terminal")
    parser.add_argument("--trials", type=Path, help="where each trial is filed as it is done, as a line of JSON")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    failed = _schedules(options.seed, options.schedules)
    trials = run_campaign(options.faults, options.seed, partial(_tell, options.trials)) if options.faults else []
    found = f"{options.schedules:,} schedules from seed {options.seed} on, {failed} failed.\n\n{table(trials)}\n"
    print(found)
    if options.table:
        options.table.write_text(found)
    return 1 if failed or any(one.is_tried and not one.is_survived for one in trials) else 0


def _schedules(first: int, count: int) -> int:
    """How many failed."""
    failed, begun = 0, time.monotonic()
    for seeds, share in run_schedules(range(first, first + count)):
        for seed, words in share.items():
            print(f"schedule {seed}: {words}", flush=True)
        failed += len(share)
        if (done := seeds.stop - first) % 1000 == 0:
            print(f"{done} schedules in {time.monotonic() - begun:.0f} s, {failed} failed", flush=True)
    return failed


def _tell(file: Path | None, trial: Trial) -> None:
    """One line for each fault, as its job is done."""
    if file is not None:
        with file.open("a") as lines:
            lines.write(trial.to_json() + "\n")
    if not trial.is_tried:
        print(f"{trial.fault}: the job was over before; {'; '.join(trial.words)}", flush=True)
        return
    known = (("known", trial.detection_s), ("back", trial.recovery_s))
    seconds = ", ".join(f"{name} {value:.1f} s" for name, value in known if value is not None)
    end = "survived" if trial.is_survived else "NOT SURVIVED"
    words = f"{trial.rows_repeated} rows again; {trial.wall_s:.0f} s in all; {'; '.join(trial.words)[:400]}"
    print(f"{trial.fault}: {end}; {seconds}; {words}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
