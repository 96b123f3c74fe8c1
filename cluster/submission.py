"""`headrace submit`: the job file, this folder, our code and time to save, to a Ray cluster."""

import logging
import os
import shlex
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from ray.exceptions import AuthenticationError
from ray.job_submission import JobStatus, JobSubmissionClient
from rich.console import Console

from cluster.output_place import SUBMITTED_FROM
from cluster.ray_door import token_advice
from cluster.ray_session import PACKAGES
from shared.errors import JobFailed, UserError

STOP_WAIT_S = 120
"""Ray gives a driver 3 s between its SIGTERM and its end; a job may need longer to save."""
DEFAULT_ADDRESS = "http://127.0.0.1:8265"
POLL_S = 1.0
PATIENCE_S = 30.0
"""A dashboard may be away for so long while we follow a job."""
EXCLUDED = [".git", ".venv", "runs", "__pycache__"]
CHATTY = ("ray.dashboard.modules.dashboard_sdk", "ray._private.runtime_env.packaging")
"""Ray's loggers that tell how a folder is packed."""
T = TypeVar("T")


def submit_job(job_file: Path, overrides: tuple[str, ...], address: str, wait: bool, console: Console) -> int:
    """Submits, and with `wait` shows the log until the job ends; gives the exit code of the job.

    Raises:
        UserError: no cluster answers, it refuses us or what we send, or the job file is not in this folder.
    """
    for logger in CHATTY:
        logging.getLogger(logger).setLevel(logging.WARNING)
    folder = Path.cwd().resolve()
    words = ["python", "-m", "cluster", "run", _inside(folder, job_file), *overrides]
    address = dashboard_address(address)
    client = _asked(address, lambda: JobSubmissionClient(address))
    name = _asked(address, lambda: client.submit_job(entrypoint=shlex.join(words), runtime_env=runtime_env(folder)))
    console.print(f"submitted {name} to {address}\nsave and stop it with: ray job stop --address {address} {name}")
    if not wait:
        return 0
    try:
        return _follow(client, name, console)
    except KeyboardInterrupt:
        console.print(f"the job goes on; see it with: ray job logs --follow --address {address} {name}")
        raise


def dashboard_address(written: str) -> str:
    """The dashboard's URL: as written, or from the variables that `ray job submit` reads, or Ray's default."""
    from_environment = os.environ.get("RAY_API_SERVER_ADDRESS") or os.environ.get("RAY_ADDRESS", "")
    address = written or (from_environment if from_environment.startswith("http") else "") or DEFAULT_ADDRESS
    if address.startswith("ray://") or ("." not in address and ":" not in address):
        raise UserError(f"--address must be the URL of a Ray dashboard, such as {DEFAULT_ADDRESS}, got {address!r}")
    return address if "://" in address else f"http://{address}"


def runtime_env(folder: Path) -> dict[str, Any]:
    """What the driver and the actors find on the cluster: `folder`, and our packages where it does not hold them."""
    root = Path(__file__).resolve().parent.parent
    missing = [str(root / name) for name in PACKAGES if not (folder / name).is_dir()]
    return {
        "working_dir": str(folder),
        "excludes": EXCLUDED,
        "env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": str(STOP_WAIT_S), SUBMITTED_FROM: str(folder)},
        **({"py_modules": missing} if missing else {}),
    }


def _inside(folder: Path, job_file: Path) -> str:
    try:
        return str(job_file.resolve().relative_to(folder))
    except ValueError:
        raise UserError(f"{job_file} must lie in the current folder, which is what the cluster gets") from None


def _asked(address: str, call: Callable[[], T]) -> T:
    """What `call` gives. Raises UserError, in one sentence, for the errors of Ray's client, which share no class."""
    try:
        return call()
    except AuthenticationError as error:
        raise UserError(token_advice(address)) from error
    except ConnectionError as error:
        raise UserError(
            f"no Ray dashboard answers at {address}: check the address, and that the cluster runs"
        ) from error
    except Exception as error:
        first = str(error).strip().partition("\n")[0]
        raise UserError(f"the Ray cluster at {address} does not take the job: {first}") from error


def _follow(client: JobSubmissionClient, name: str, console: Console) -> int:
    shown = 0
    while True:
        status, log = _patiently(lambda: (client.get_job_status(name), client.get_job_logs(name)))
        console.print(log[shown:], end="", markup=False, highlight=False)
        shown = len(log)
        if status.is_terminal():
            return _exit_code(client, name, status)
        time.sleep(POLL_S)


def _patiently(call: Callable[[], T]) -> T:
    """What `call` gives, tried again while the dashboard is away."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return call()
        except Exception as error:  # the client raises what its HTTP library raises, and RuntimeError
            if time.monotonic() > deadline:
                raise JobFailed("the Ray dashboard no longer answers; the job may still run") from error
            time.sleep(POLL_S)


def _exit_code(client: JobSubmissionClient, name: str, status: JobStatus) -> int:
    """As `headrace run` on the cluster ended; 130 for a job that was stopped."""
    if status is JobStatus.SUCCEEDED:
        return 0
    if status is JobStatus.STOPPED:
        return 130
    return _patiently(lambda: client.get_job_info(name)).driver_exit_code or 1
