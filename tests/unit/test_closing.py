"""What is said of a job that was stopped, by those who ran it and by those who stopped it."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from cluster.closing import print_closing
from cluster.controller import Outcome
from cluster.watch import ending
from shared.job_state import JobState
from tests.chaos.simulation.small_job import small_job
from tests.example_run import example_snapshot


@pytest.mark.parametrize(("outcome", "said"), [(Outcome.STOPPED, "saved"), (Outcome.CUT_SHORT, "not all was saved")])
def test_a_run_says_whether_all_was_saved(outcome: Outcome, said: str) -> None:
    console = Console(file=io.StringIO(), width=200)
    print_closing(small_job(0).job.model_copy(update={"output": "runs/small"}), outcome, console)
    assert console.file.getvalue().startswith(f"{said}; go on with: ")  # type: ignore[attr-defined]
    assert console.file.getvalue().endswith(" resume runs/small\n")  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("", "is stopped, saved at block 40; go on with: headrace resume demo"),
        (
            "not all could save at block 60 within 100 s: what comes after block 40 will be done again",
            "is stopped: not all could save at block 60 within 100 s: what comes after block 40 will be done again; "
            "go on with: headrace resume demo",
        ),
        ("stopped at once", "is stopped: stopped at once; go on with: headrace resume demo"),
    ],
)
def test_a_stop_says_whether_all_was_saved(message: str, said: str) -> None:
    snapshot = example_snapshot()
    job = replace(snapshot.job, name="demo", state=JobState.STOPPED, message=message, checkpoint=40)
    assert ending(replace(snapshot, job=job)) == said
