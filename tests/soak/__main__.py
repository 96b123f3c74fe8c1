"""`make soak`: a job streams for an hour while producers and trainers die all the time; nothing may grow.

python -m tests.soak --seconds 3600 --seed 0 [--kill-every 45] [--rows-per-s 4000] [--folder FOLDER] [--table FILE]

The driver is a process of its own, as a user types it. At the end the job is stopped as `headrace stop` does it, its
ledger must balance, and its trainers must have read the same rows. Samples lie in samples.csv in the folder.
"""

import argparse
import os
import secrets
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
os.environ.setdefault("RAY_AUTH_MODE", "token")  # before anything imports ray, which reads it once
os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
os.environ.setdefault("RAY_gcs_rpc_server_reconnect_timeout_s", "900")

from tests.soak.soak import Options, soak
from tests.soak.verdict import table, trends
from tests.soak.vitals import read_samples

ALL_IS_WELL = "Nothing grows, the ledger balances, and all trainers have read the same."


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3600.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kill-every", type=float, default=45.0, help="seconds between two kills, on average")
    parser.add_argument("--sample-every", type=float, default=15.0)
    parser.add_argument("--rows-per-s", type=float, default=4000.0, help="at which the slowest trainer reads")
    parser.add_argument("--folder", type=Path, help="where the run and samples.csv go; default: a new temporary one")
    parser.add_argument("--table", type=Path, help="where the table goes, beside the terminal")
    parser.add_argument("--judge", type=Path, help="judge the samples of a soak before this one, and run none")
    options = parser.parse_args()
    if options.judge:
        print(table(trends(read_samples(options.judge))))
        return 0
    folder = options.folder or Path(tempfile.mkdtemp(prefix="headrace-soak-"))
    folder.mkdir(parents=True, exist_ok=True)
    found = soak(
        folder,
        Options(options.seconds, options.seed, options.kill_every, options.sample_every, options.rows_per_s),
    )
    found_trends = trends(found.samples)
    wrong = found.wrong + [one.sentence for one in found_trends if not one.is_flat]
    text = f"{found.summary}\n\n{table(found_trends)}\n\n{'; '.join(wrong) or ALL_IS_WELL}\n"
    print(text)
    if options.table:
        options.table.write_text(text)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
