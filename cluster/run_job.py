"""From a checked job to its end: folder, registry, Ray, controller, and what is left behind."""

import logging
import math
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType

import torch
from rich.console import Console

from cluster import checkpoints
from cluster.controller import STOP_FILE, Controller, Outcome
from cluster.crew import Crew
from cluster.driver_log import NAME as LOG_FILE
from cluster.driver_log import driver_log, unforeseen
from cluster.memory_plan import check_plan
from cluster.patience import PatientRegistry
from cluster.placement import fit, idle_gpus, shortage, wanted
from cluster.preparation import Prepared, check_folder, prepare
from cluster.progress import progress_display
from cluster.ray_session import Resources, ray_session, this_machine
from cluster.ray_token import own_cluster_is_wanted
from cluster.report import write_report
from cluster.spill_watch import SpillWatch
from cluster.stopping import StoppedAtOnce, StopWish
from cluster.watcher import Watcher
from shared.config import Job
from shared.disk import room_for
from shared.embedded_redis import EmbeddedRedis
from shared.errors import CheckpointError, HeadraceError, JobFailed, StaleToken, UserError
from shared.files import write_atomically
from shared.job_file import dump_job
from shared.job_state import JobState
from shared.registry import Registry
from shared.registry_connection import RegistryAddress
from shared.registry_facts import TrainerCounters
from shared.registry_place import EMBEDDED, open_registry, registry_address
from shared.registry_secret import keep_password, without_password

log = logging.getLogger(__name__)
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Ctrl-C, an orderly end from outside, a terminal that was closed."""


def run_job(job: Job, resume: bool, console: Console) -> Outcome:
    """Runs `job` to its end, or until it is stopped.

    Raises:
        UserError: what the user wrote cannot be done; nothing was started.
        JobFailed: the job broke while it ran.
    """
    check_folder(job, resume)
    prepared = prepare(job)
    if own_cluster_is_wanted():
        check_plan(prepared.plan, this_machine())
        fit(wanted(job), math.inf, torch.cuda.device_count())
    if resume:
        _checkpoint(job, prepared)
    run_folder, registry_url = Path(job.output).resolve(), job.registry
    job = job.model_copy(update={"registry": without_password(registry_url)})  # as all may see it from here on
    with ExitStack() as stack:
        runs_folder = run_folder.parent
        client = stack.enter_context(open_registry(registry_url, runs_folder))
        registry = Registry(client, job.name)
        token = registry.claim_job(dump_job(job), str(run_folder), resume)
        with room_for("job.yaml", run_folder):
            run_folder.mkdir(parents=True, exist_ok=True)
            (run_folder / STOP_FILE).unlink(missing_ok=True)
            write_atomically(run_folder / "job.yaml", dump_job(job).encode())
            keep_password(run_folder, registry_url)
        stack.enter_context(driver_log(run_folder))
        embedded = EmbeddedRedis(runs_folder) if job.registry == EMBEDDED else None
        display = stack.enter_context(progress_display(job, console))
        watcher = Watcher(registry, token, run_folder, display, embedded)
        stack.callback(_report, run_folder, watcher)
        stack.callback(watcher.close)
        with _state_at_the_end(registry, token, run_folder / LOG_FILE, watcher):
            # once more, since a driver that hung may have saved until now
            checkpoint = _checkpoint(job, prepared, lambda it: watcher.event("damaged", it)) if resume else None
            within_s = job.checkpoint.stop_within_s
            patient = PatientRegistry(client, job.name, lambda: watcher.stop_wanted.lasts_s() <= within_s)
            address = registry_address(registry_url, run_folder)
            outcome = _with_ray(job, prepared, checkpoint, patient, token, address, run_folder, watcher)
        watcher.look()
    return outcome


def _report(run_folder: Path, watcher: Watcher) -> None:
    """Writes the report, of a run that failed too; one that cannot be written does not change how the run ended.

    Of a job that another driver has, it is that driver's to write.
    """
    if watcher.is_fenced:
        return
    try:
        write_report(run_folder)
    except Exception:
        log.exception("the report could not be written")


def _with_ray(
    job: Job,
    prepared: Prepared,
    checkpoint: checkpoints.Checkpoint | None,
    registry: PatientRegistry,
    token: int,
    address: RegistryAddress,
    run_folder: Path,
    watcher: Watcher,
) -> Outcome:
    roles = wanted(job)
    cpus = sum(one.cpus for one in roles.values())
    with _signals(watcher.stop_wanted), ray_session(job.name, cpus, prepared.plan.store_bytes) as resources:
        _catch_signals(watcher.stop_wanted)  # ray.init put its own handler in
        _check_nodes(job, resources)
        reservations = fit(roles, resources.cpus, resources.gpus)
        if resources.dashboard:
            watcher.event("dashboard", f"Ray dashboard at {resources.dashboard}")
        if prepared.nothing_held_out:
            watcher.event("nothing-held-out", prepared.nothing_held_out)
        if idle := idle_gpus(job, resources.gpus):
            watcher.event("idle-gpus", idle)
        if waiting := shortage(reservations, resources.free_cpus, resources.free_gpus):
            watcher.event("waiting", waiting)
        crew = Crew(job, run_folder, registry, token, address, prepared, reservations)
        try:
            with SpillWatch() as spill:
                controller = Controller(job, run_folder, registry, token, prepared, crew, watcher, spill)
                outcome = controller.run(checkpoint)
        finally:
            crew.remove_all()
            crew.drop_spools()
        watcher.file()
        # before Ray ends: `ray job stop` gives 3 s
        _say(registry, token, outcome.state, controller.unsaved, controller.ends)
    return outcome


@contextmanager
def _state_at_the_end(registry: Registry, token: int, log_path: Path, watcher: Watcher) -> Iterator[None]:
    """Says in the registry how the run ended, whatever happens."""
    try:
        yield
    except StaleToken:
        watcher.is_fenced = True
        raise
    except BaseException as error:
        at_once = watcher.stop_wanted.at_once
        if at_once or isinstance(error, (KeyboardInterrupt, StoppedAtOnce)):
            _say(registry, token, JobState.STOPPED, "stopped at once")
        else:
            _say(registry, token, JobState.FAILED, _sentence(error, log_path))
        if at_once and not isinstance(error, StoppedAtOnce):  # raised within a call of Ray's, which made its own of it
            raise StoppedAtOnce from error
        raise


def _sentence(error: BaseException, log_path: Path) -> str:
    return str(error) if isinstance(error, HeadraceError) else unforeseen(error, log_path)


def _say(
    registry: Registry, token: int, state: JobState, message: str, ends: Mapping[str, TrainerCounters] | None = None
) -> None:
    try:
        registry.set_state(token, state, message, ends)
    except HeadraceError as error:
        log.warning("state=%s unsaid: %s", state, error)


def _checkpoint(
    job: Job, prepared: Prepared, tell: Callable[[str], None] = log.warning
) -> checkpoints.Checkpoint | None:
    """Where to go on from. Raises UserError if the corpus has changed since."""
    try:
        checkpoint = checkpoints.newest(Path(job.output), tell)
    except CheckpointError as error:
        raise JobFailed(str(error)) from error
    if checkpoint is not None and checkpoint.fingerprint != prepared.fingerprint:
        raise UserError("corpus.source: the files have changed since this job began; it cannot go on exactly")
    return checkpoint


def _check_nodes(job: Job, resources: Resources) -> None:
    if resources.num_nodes > 1 and (job.registry == EMBEDDED or job.registry.startswith("unix:")):
        raise UserError(
            f"the cluster has {resources.num_nodes} nodes: registry must be the redis:// URL of a server "
            "that all of them reach"
        )


@contextmanager
def _signals(stop_wanted: StopWish) -> Iterator[None]:
    """The first of SIGNALS: save and stop; the second: stop at once. The handlers of before come back at the end."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    _catch_signals(stop_wanted)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _catch_signals(stop_wanted: StopWish) -> None:
    def handle(number: int, frame: FrameType | None) -> None:
        if stop_wanted.by_signal:
            stop_wanted.at_once = True
            raise StoppedAtOnce
        stop_wanted.by_signal = True
        stop_wanted.set()

    for number in SIGNALS:
        signal.signal(number, handle)
