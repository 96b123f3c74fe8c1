"""Finds the job that a command names: by its name in a registry, or by its run folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from shared.config import Job
from shared.errors import UserError
from shared.job_file import load_job, parse_job
from shared.job_state import JobState
from shared.registry import Registry, list_jobs
from shared.registry_place import EMBEDDED, open_registry
from shared.registry_secret import with_kept_password

RUNS = Path("runs")
JOB_FILE = "job.yaml"


@dataclass(frozen=True)
class FoundJob:
    """A job in its registry."""

    job: Job
    registry: Registry
    run_folder: Path


@contextmanager
def find_job(name: str, registry_url: str | None) -> Iterator[FoundJob]:
    """The job that `name` names: a run folder, or a job in the registry of ./runs or of `registry_url`.

    Raises:
        UserError: there is none; says which there are.
        RegistryUnreachable: the registry does not answer.
    """
    job = read_run(Path(name), registry_url)
    where = job.registry if job else registry_url or EMBEDDED
    runs = Path(name).resolve().parent if job else RUNS
    if where == EMBEDDED and not (runs / ".registry").is_dir():
        raise UserError(_no_registry(name, job))
    with open_registry(where, runs) as client:
        if job is None:
            job = _known(Registry(client, name), [one.name for one in list_jobs(client)], where)
        else:
            _check_output(Registry(client, job.name), Path(job.output))
        yield FoundJob(job, Registry(client, job.name), Path(job.output))


def find_run(name: str) -> tuple[Path, Job]:
    """The folder and job of a run; for a folder no registry is asked. Raises UserError as `find_job`."""
    if job := read_run(Path(name)):
        return Path(name), job
    with find_job(name, None) as found:
        return found.run_folder, found.job


def job_to_resume(name: str, registry_url: str | None) -> Job:
    """The job to go on with; a run folder is enough, wherever it lies now.

    Raises:
        UserError: there is none, or it is finished.
    """
    job = read_run(Path(name), registry_url)
    if job:  # claiming it refuses a job that runs or is finished; another run of its name is no hindrance
        return job
    with find_job(name, registry_url) as found:
        if found.registry.job_state() is JobState.FINISHED:
            raise UserError(f"job {found.job.name} is finished; there is nothing to resume")
        return found.job


def read_run(folder: Path, registry_url: str | None = None) -> Job | None:
    """The job whose run folder `folder` is, with that as its output, wherever it was when the job began.

    None where `folder` is no run folder. Its registry is `registry_url`, or else the one that it had.
    """
    if not (folder / JOB_FILE).is_file():
        return None
    job = load_job(folder / JOB_FILE)
    known = registry_url or with_kept_password(job.registry, folder)
    return job.model_copy(update={"output": str(folder), "registry": known})


def _check_output(registry: Registry, folder: Path) -> None:
    """Raises UserError if the registry's job of this name is a run in another folder."""
    known = registry.snapshot().job.output if registry.job_state() else str(folder.resolve())
    if Path(known) != folder.resolve():
        raise UserError(
            f"the run in {folder} is over (see it with: headrace report {folder}); "
            f"the registry now knows a job named {registry.job} in {known}"
        )


def _no_registry(name: str, job: Job | None) -> str:
    if job is not None:
        return f"there is no registry beside {name}; see what its folder knows with: headrace report {name}"
    if Path(name).is_dir():
        return f"{name} is not a run folder: it has no {JOB_FILE}"
    return f"there is no job named {name}: {RUNS}/ has no registry; give a run folder or --registry URL"


def _known(registry: Registry, names: list[str], where: str) -> Job:
    text = registry.job_yaml()
    if text is None:
        there = f"there are {', '.join(names)}" if names else "the registry holds none"
        what = "neither a run folder nor the name of a job" if Path(registry.job).exists() else "no job's name"
        raise UserError(f"{registry.job} is {what}; {there}")
    output = registry.snapshot().job.output
    job = parse_job(text, origin=f"the registry's record of {registry.job}")
    return job.model_copy(update={"output": output, "registry": where})
