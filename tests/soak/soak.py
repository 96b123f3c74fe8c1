"""One soak: a driver of its own, kills by plan, samples by the clock, a stop, and what the registry says then."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import psutil
import ray
import redis

from shared.config import Job
from shared.job_file import dump_job
from shared.job_state import JobState
from shared.ledger import ledger
from shared.registry import Registry
from shared.registry_place import open_registry
from tests.soak.churn import Kill, plan_kills
from tests.soak.job import BLOCK_ROWS, CHURNED, STOP_S, make_soak_job
from tests.soak.vitals import Sample, Vitals, join, live_actors, write_samples

ROOT = Path(__file__).resolve().parents[2]
PATIENT_RAY = {
    "RAY_gcs_rpc_server_reconnect_timeout_s": "900",
    "RAY_health_check_period_ms": "30000",
    "RAY_health_check_timeout_ms": "120000",
    "RAY_health_check_failure_threshold": "20",
}
"""On a machine that others load at times, Ray takes itself for dead after a minute."""
START_S, ENDING_S = 600.0, 120.0


@dataclass(frozen=True)
class Options:
    """Times in seconds."""

    seconds: float
    seed: int
    kill_every_s: float
    sample_every_s: float
    rows_per_s: float


@dataclass
class Soaked:
    """What came of it."""

    path: Path
    """Of the samples, written as they come."""
    samples: list[Sample] = field(default_factory=list)
    killed: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    summary: str = ""


def soak(folder: Path, options: Options) -> Soaked:
    """Runs a job in `folder` as `options` say."""
    job, found = make_soak_job(folder, options.rows_per_s), Soaked(folder / "samples.csv")
    job_file, run_folder = folder / "job.yaml", Path(job.output)
    job_file.write_text(dump_job(job))
    run_folder.parent.mkdir(parents=True)
    with open_registry(job.registry, run_folder.parent) as client, (folder / "driver.txt").open("w") as said:
        registry = Registry(client, job.name)
        command = [sys.executable, "-m", "cluster", "run", str(job_file)]
        environment = {**os.environ, **PATIENT_RAY}
        driver = psutil.Popen(command, cwd=ROOT, env=environment, stdout=said, stderr=said, start_new_session=True)
        try:
            _await_running(registry, driver)
            join(driver)
            _stir(Vitals(driver, client, run_folder), driver, options, found)
            ray.shutdown()  # it is the driver's, and may end this process when it goes
            _stop(registry, driver, found)
        finally:
            ray.shutdown()
            if driver.poll() is None:
                driver.kill()
                driver.wait()
        _judge(job, registry, found)
    return found


def _await_running(registry: Registry, driver: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_S
    while registry.job_state() is not JobState.RUNNING or not registry.snapshot().trainers:
        assert driver.poll() is None and time.monotonic() < deadline, "the job does not start"
        time.sleep(1.0)


def _stir(vitals: Vitals, driver: subprocess.Popen[bytes], options: Options, found: Soaked) -> None:
    """Kills and samples until the time is up."""
    begun_s, due_s = time.monotonic(), 0.0
    kills = plan_kills(options.seconds - 60.0, options.kill_every_s, CHURNED, options.seed)
    while (now_s := time.monotonic() - begun_s) < options.seconds:
        if driver.poll() is not None:
            found.wrong.append(f"the driver ended with {driver.poll()} after {now_s:.0f} s")
            return
        if now_s >= due_s:
            _sample(vitals, found)
            due_s = now_s + options.sample_every_s
            print(f"{now_s:.0f} s: {_in_short(found)}", flush=True)
        while kills and kills[0].at_s <= now_s:
            _strike(kills.pop(0), found)
        time.sleep(0.5)


def _sample(vitals: Vitals, found: Soaked) -> None:
    """A machine so busy that somebody does not answer in time costs this sample."""
    try:
        samples = vitals.take()
    except (redis.RedisError, grpc.RpcError, ray.exceptions.RayError, psutil.Error, ValueError) as error:
        print(f"no sample: {type(error).__name__}: {error}", flush=True)
        return
    found.samples += samples
    write_samples(found.path, samples)


def _strike(kill: Kill, found: Soaked) -> None:
    """Nothing, if who is to die is just being replaced."""
    pid = live_actors().get(kill.role)
    with suppress(ProcessLookupError):
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
            found.killed[kill.role] += 1


def _in_short(found: Soaked) -> str:
    at_s = found.samples[-1].at_s if found.samples else 0.0
    now = [one for one in found.samples if one.at_s == at_s and one.measure in ("private MiB", "used MiB", "keys")]
    return ", ".join(f"{one.subject} {one.value:.1f}" for one in now) + f"; killed {dict(found.killed)}"


def _stop(registry: Registry, driver: subprocess.Popen[bytes], found: Soaked) -> None:
    if driver.poll() is not None:
        return
    registry.request_stop()
    try:
        code = driver.wait(STOP_S + ENDING_S)
    except psutil.TimeoutExpired:
        found.wrong.append(f"the driver did not stop in {STOP_S + ENDING_S:.0f} s")
        return
    if code not in (0, 130):
        found.wrong.append(f"the driver stopped with {code}")


def _judge(job: Job, registry: Registry, found: Soaked) -> None:
    snapshot = registry.snapshot()
    if snapshot.job.state is not JobState.STOPPED:
        found.wrong.append(f"the job is {snapshot.job.state}: {snapshot.job.message}")
    found.wrong += ledger(snapshot).imbalances()
    trainers = snapshot.trainers.values()
    if len({(one.cursor, one.address_digest, one.bits_digest) for one in trainers}) != 1:
        found.wrong.append("the trainers have not read the same")
    rows = min(one.rows for one in trainers)
    if rows != BLOCK_ROWS * min(one.cursor for one in trainers):
        found.wrong.append(f"{rows} rows were read, which is no whole number of blocks")
    killed = ", ".join(f"{role} {count} times" for role, count in sorted(found.killed.items()))
    seconds = max((one.at_s for one in found.samples), default=0.0)
    found.summary = (
        f"{seconds / 60:.0f} minutes, {rows:,} rows to each of {len(trainers)} trainers, "
        f"{snapshot.job.checkpoint} blocks to the last checkpoint; killed: {killed or 'nobody'}."
    )
