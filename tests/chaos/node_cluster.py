"""Ray clusters of several raylets on this machine, each with workers and an object store of its own."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import Any

import psutil
import pytest
import ray
from ray._private.state import actors
from ray.cluster_utils import Cluster

MARKS = [
    pytest.mark.long,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),  # Ray's search for ports closes none
]
"""Of tests with nodes of their own."""
STORE_BYTES = 100 * 2**20
STARTS = 5
SETTLE_S = 120.0
ALONE = {"object_store_memory": STORE_BYTES, "include_dashboard": False}


class NodeCluster:
    """A head, and nodes that come and go; by default no actor finds room on the head."""

    def __init__(self, head_cpus: int = 0, host: str = "127.0.0.1") -> None:
        self.host = host
        head = {"num_cpus": head_cpus, "node_ip_address": host, **ALONE}
        self._cluster = Cluster(initialize_head=True, head_node_args=head)
        self.address: str = self._cluster.address

    def add(self) -> Any:
        """A node with room for all actors of a small job."""
        return self._cluster.add_node(num_cpus=12, node_ip_address=self.host, **ALONE)

    def remove(self, node: Any) -> None:
        """What is left of it ends."""
        self._cluster.remove_node(node, allow_graceful=False)

    def settle(self, nodes: list[Any]) -> None:
        """Waits until the head knows that these nodes live, and of those that came before that they do not."""
        wanted, deadline = {node.node_id for node in [self._cluster.head_node, *nodes]}, time.monotonic() + SETTLE_S
        while {node["NodeID"] for node in ray.nodes() if node["Alive"]} != wanted:
            assert time.monotonic() < deadline, "nodes that went away still count as alive"
            time.sleep(0.5)

    def lose(self, node: Any, number: signal.Signals) -> list[psutil.Process]:
        """SIGKILL: its raylet dies, and the rest with it. SIGSTOP: all of it freezes. Gives its processes."""
        raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
        processes = [raylet, *raylet.children(recursive=True)]
        for process in processes[:1] if number is signal.SIGKILL else processes:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)
        return processes

    @property
    def head_pid(self) -> int:
        """The process that knows the cluster."""
        return self._head_process("gcs_server")

    def kill_head(self) -> None:
        """That, and the raylet beside it."""
        for running in ("gcs_server", "raylet"):
            os.kill(self._head_process(running), signal.SIGKILL)

    def _head_process(self, running: str) -> int:
        pid: int = self._cluster.head_node.all_processes[running][0].process.pid
        return pid

    def close(self) -> None:
        self._cluster.shutdown()


@contextmanager
def node_cluster(head_cpus: int = 0, host: str = "127.0.0.1") -> Iterator[NodeCluster]:
    """Runs until the block ends; the head is at the address `host`."""
    cluster = _started(head_cpus, host)
    try:
        yield cluster
    finally:
        cluster.close()


def _started(head_cpus: int, host: str) -> NodeCluster:
    """On a busy machine Ray gives its own agents too little time to start."""
    for left in reversed(range(STARTS)):
        with suppress(Exception) if left else nullcontext():
            return NodeCluster(head_cpus, host)
    raise AssertionError


def node_of(role: str, nodes: list[Any]) -> Any:
    """Which of `nodes` the live actor of that name is on."""
    return next(node for node in nodes if node.node_id == address_of(role)["NodeID"])


def address_of(role: str) -> dict[str, Any]:
    """Where the live actor of that name is: `NodeID`, `IPAddress` and more."""
    (found,) = [one for one in actors().values() if one["Name"] == role and one["State"] == "ALIVE"]
    address: dict[str, Any] = found["Address"]
    return address


def join(cluster: NodeCluster) -> None:
    """Makes this process a driver on it."""
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    ray.init(address=cluster.address, namespace="headrace-tests", _node_ip_address=cluster.host, **quiet)


def wake(processes: list[psutil.Process]) -> None:
    """Lets processes that were stopped go on, where they still are."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGCONT)
