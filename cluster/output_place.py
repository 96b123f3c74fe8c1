"""Where a relative `output` lies when Ray runs the driver: never in the copy of the code, which Ray throws away.

It lies in the folder that the job was submitted from, where the head node has that folder (it is the same machine, or
one file system serves both), and else under ~/headrace there.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from shared.config import Job

SUBMITTED_FROM = "HEADRACE_SUBMITTED_FROM"
"""`headrace submit` tells the driver its own folder in this variable; plain `ray job submit` does not."""
RAYS_JOB = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""Ray sets this variable for the driver of a job that was submitted to it."""
FALLBACK = Path("~/headrace")


def is_rays_job(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this driver was submitted to Ray, and so stands in a copy of the user's folder."""
    return RAYS_JOB in environment


def with_lasting_output(job: Job, environment: Mapping[str, str] = os.environ) -> Job:
    """The job, with its `output` made absolute if Ray runs this driver."""
    if not is_rays_job(environment):
        return job
    return job.model_copy(update={"output": str(_base(environment) / job.output)})


def _base(environment: Mapping[str, str]) -> Path:
    submitted_from = Path(environment.get(SUBMITTED_FROM, ""))
    if submitted_from.is_absolute() and os.access(submitted_from, os.W_OK | os.X_OK):
        return submitted_from
    return FALLBACK.expanduser()
