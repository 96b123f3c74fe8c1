"""Looking at a job that another process drives, and asking it to stop."""

import time

from rich.console import Console

from cluster.progress import progress_display
from shared.config import Job
from shared.errors import JobFailed, UserError
from shared.job_state import JobState
from shared.registry import Registry
from shared.registry_snapshot import Snapshot

LOOK_S = 1.0


def watch_job(registry: Registry, job: Job, console: Console) -> Snapshot:
    """Shows the job's progress until it ends or its driver is gone; gives the last that was seen."""
    last_event = "-"
    with progress_display(job, console) as display:
        while True:
            snapshot = registry.snapshot()
            for event in registry.events(last_event):
                display.event(event)
                last_event = event.id
            display.update(snapshot)
            if snapshot.job.state.is_terminal or driver_is_gone(snapshot):
                break
            time.sleep(LOOK_S)
    console.print(f"job {job.name} {ending(snapshot)}")
    return snapshot


def stop_job(registry: Registry, job: Job, console: Console) -> None:
    """Asks the job's driver to save and stop, and waits until it has.

    Raises:
        UserError: the job does not run. JobFailed: its driver died before it had stopped.
    """
    snapshot = registry.snapshot()
    if snapshot.job.state.is_terminal:
        raise UserError(f"job {job.name} does not run: it is {snapshot.job.state}")
    if driver_is_gone(snapshot) or not registry.request_stop():
        raise UserError(f"job {job.name} does not run: its driver is gone; go on with: headrace resume {job.name}")
    with console.status(f"saving {job.name}"):
        while not (snapshot := registry.snapshot()).job.state.is_terminal:
            if driver_is_gone(snapshot):
                raise JobFailed(f"the driver of job {job.name} died before it had stopped the job")
            time.sleep(LOOK_S / 4)
    if snapshot.job.state is JobState.FAILED:
        raise JobFailed(f"job {job.name} failed: {snapshot.job.message}")
    console.print(f"job {job.name} {ending(snapshot)}")


def driver_is_gone(snapshot: Snapshot) -> bool:
    return snapshot.job.has_lost_driver


def ending(snapshot: Snapshot) -> str:
    """`is stopped at block 40; go on with: headrace resume demo`."""
    job = snapshot.job
    if driver_is_gone(snapshot):
        return f"has lost its driver; go on with: headrace resume {job.name}"
    if job.state is JobState.STOPPED:
        how = f": {job.message}" if job.message else f", saved at block {job.checkpoint or 0}"
        return f"is stopped{how}; go on with: headrace resume {job.name}"
    if job.state is JobState.FAILED:
        go_on = "" if "headrace resume" in job.message else f"; go on with: headrace resume {job.name}"
        return f"failed: {job.message}{go_on}"
    return f"is {job.state}"
