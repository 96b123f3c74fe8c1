"""Ray, as a job finds it: its own on one machine, or the cluster that RAY_ADDRESS names."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import ray

from cluster.memory_plan import Machine
from cluster.output_place import is_rays_job
from cluster.ray_door import cluster_address
from cluster.ray_token import own_cluster_is_wanted, token_in_use
from shared.errors import HeadraceError, JobFailed, UserError

log = logging.getLogger(__name__)
PACKAGES = ("cluster", "producers", "trainers", "features", "shared")
PLASMA_FOLDER = Path("/dev/shm")
ACTORS_ENVIRONMENT = {"OMP_WAIT_POLICY": "PASSIVE", "TOKENIZERS_PARALLELISM": "false"}
"""Threads that wait by spinning, or that are as many as there are cores, take the cores from other actors."""


@dataclass(frozen=True)
class Resources:
    """What the cluster has in all, and what nobody uses."""

    cpus: float
    gpus: float
    free_cpus: float
    free_gpus: float
    num_nodes: int
    dashboard: str | None
    """Its address as people read it, `http://127.0.0.1:8265`, and where its token is."""


def this_machine() -> Machine:
    """Free memory here, and the shared memory that Ray's object store may use."""
    free = psutil.virtual_memory().available
    shared = psutil.disk_usage(str(PLASMA_FOLDER)).free if PLASMA_FOLDER.exists() else free
    return Machine(free, shared)


@contextmanager
def ray_session(job: str, cpus: float, store_bytes: int) -> Iterator[Resources]:
    """Ray for job `job` while the block runs: names of actors are the job's own.

    Args:
        cpus: at least so many are counted on a cluster of our own, however few cores there are.
        store_bytes: the object store of a cluster of our own.
    Raises:
        UserError: the cluster does not answer, or refuses our token.
        JobFailed: a cluster of our own does not start.
    """
    namespace = f"headrace-{job}"
    if ray.is_initialized():  # a program that uses us from Python has its own
        yield _resources()
        return
    if own_cluster_is_wanted():
        _start(namespace, cpus, store_bytes)
    else:
        _join(namespace)
    try:
        yield _resources()
    finally:
        ray.shutdown()


def _start(namespace: str, cpus: float, store_bytes: int) -> None:
    """Starts a cluster of our own. Ray gives its node 30 s to appear and cannot be told otherwise.

    It is not tried again: clients of the first try stay in this process, and end it when they miss their server.
    """
    try:
        _start_once(namespace, cpus, store_bytes)
    except HeadraceError:
        raise
    except Exception as error:  # Ray's own errors on starting share no class
        log.warning("ray_start=failed", exc_info=True)
        raise JobFailed(f"Ray does not start here, or not in time: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0].strip().rstrip(":.")


def _start_once(namespace: str, cpus: float, store_bytes: int) -> None:
    ray.init(
        address="local",
        namespace=namespace,
        num_cpus=max(int(cpus + 0.999), os.cpu_count() or 1),
        object_store_memory=store_bytes,
        runtime_env={"env_vars": ACTORS_ENVIRONMENT},
        include_dashboard=True,
        dashboard_host="127.0.0.1",
        log_to_driver=False,
        logging_level=logging.ERROR,
        configure_logging=True,
    )


def _join(namespace: str) -> None:
    address = cluster_address()
    try:
        ray.init(
            address=address,
            namespace=namespace,
            runtime_env=_runtime_env(),
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except Exception as error:  # Ray's own errors on joining share no class
        raise UserError(f"the Ray cluster at {address} cannot be joined: {_first_line(error)}") from error


def _runtime_env() -> dict[str, Any]:
    """Our packages for the cluster's nodes; a job that Ray submitted has brought them, and its own environment."""
    if is_rays_job():
        return {"env_vars": {name: value for name, value in ACTORS_ENVIRONMENT.items() if name not in os.environ}}
    root = Path(__file__).resolve().parent.parent
    return {"env_vars": ACTORS_ENVIRONMENT, "py_modules": [str(root / name) for name in PACKAGES]}


def _resources() -> Resources:
    total, free = ray.cluster_resources(), ray.available_resources()
    nodes = sum(bool(node["Alive"]) for node in ray.nodes())
    url = ray._private.worker.global_worker.node.webui_url
    return Resources(
        total.get("CPU", 0.0),
        total.get("GPU", 0.0),
        free.get("CPU", 0.0),
        free.get("GPU", 0.0),
        nodes,
        _dashboard(url) if url else None,
    )


def _dashboard(url: str) -> str:
    token = token_in_use()
    return f"http://{url}" + (f" (it asks for the token in {token.origin})" if token else "")
