"""A node of the cluster goes away under a running job, dead or silent; or the head does. The weights are the same.

Three raylets on one machine, each with its own workers and object store: blocks cross from one to the other. A node
that is frozen whole answers nobody; one whose link is cut is in test_network.py.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import ray

from cluster.controller import Outcome
from shared.job_file import dump_job
from shared.job_state import JobState
from shared.ledger import ledger
from shared.registry import Registry
from shared.registry_connection import RegistryAddress
from shared.registry_place import open_registry
from shared.registry_snapshot import Snapshot
from tests.chaos.cluster_jobs import ClusterJobs
from tests.chaos.node_cluster import MARKS, NodeCluster, join, node_cluster, node_of, wake
from tests.integration.ray_cluster import ROOT
from tests.integration.scenario import run, weights, when_block

pytestmark = [*MARKS, pytest.mark.timeout(900)]
LIMIT_S = 300.0
FROZEN_S = 20.0
"""Ray's own processes give up a head that is away for a minute."""


@pytest.fixture(scope="module")
def ground(
    tmp_path_factory: pytest.TempPathFactory, gpt2_folder: str, corpus_folder: str, external_address: RegistryAddress
) -> ClusterJobs:
    return ClusterJobs(tmp_path_factory.mktemp("nodes"), gpt2_folder, corpus_folder, external_address.url)


@pytest.fixture(scope="module")
def cluster() -> Iterator[NodeCluster]:
    with node_cluster() as cluster:
        join(cluster)
        yield cluster
        ray.shutdown()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
@pytest.mark.parametrize("role", ["lane-0", "producer-1", "trainer-relu", "evaluator"])
def test_what_was_on_a_lost_node_is_replaced_elsewhere(
    role: str, number: signal.Signals, ground: ClusterJobs, cluster: NodeCluster
) -> None:
    nodes, lost = [cluster.add(), cluster.add()], list[psutil.Process]()

    def strike(registry: Registry, snapshot: Snapshot) -> bool:
        """Once all have read some blocks and `role` was heard."""
        cursor = min((one.cursor for one in snapshot.trainers.values()), default=0)
        if cursor < 9 or role not in snapshot.heartbeats:
            return False
        lost.extend(cluster.lose(node_of(role, nodes), number))
        return True

    try:
        expected, job = ground.end(), ground.job(f"loses-{role}-{number.name.lower()}")
        seen = run(job, meanwhile=strike)
    finally:
        wake(lost)
        for node in nodes:
            cluster.remove(node)
    assert lost and seen.outcome is Outcome.FINISHED and seen.imbalances == []
    assert any(message.startswith(f"{role} ") for message in seen.events), seen.events
    assert len(seen.digests) == 1 and weights(job) == expected


@pytest.mark.parametrize("turn_s", [FROZEN_S, 1.0], ids=["frozen", "slow"])
def test_a_job_goes_on_while_the_head_is_frozen_or_slow(
    turn_s: float, ground: ClusterJobs, cluster: NodeCluster
) -> None:
    """The process that knows the cluster runs a twentieth of the time, or not at all for a while."""
    nodes, pid, striking = [cluster.add()], cluster.head_pid, list[threading.Thread]()

    def strike(registry: Registry) -> None:
        striking.append(threading.Thread(target=_hold, args=(pid, turn_s)))
        striking[0].start()

    try:
        cluster.settle(nodes)
        expected, job = ground.end(), ground.job(f"held-for-{turn_s:.0f}")
        seen = run(job, meanwhile=when_block(9, strike))
    finally:
        for thread in striking:
            thread.join()
        cluster.remove(nodes[0])
    assert striking and seen.outcome is Outcome.FINISHED and seen.imbalances == []
    assert not any(message.endswith(" s later") for message in seen.events), seen.events
    assert len(seen.digests) == 1 and weights(job) == expected


def _hold(pid: int, turn_s: float) -> None:
    """Stops a process again and again, each time for `turn_s` less a twentieth."""
    for _ in range(round(FROZEN_S / turn_s)):
        os.kill(pid, signal.SIGSTOP)
        time.sleep(0.95 * turn_s)
        os.kill(pid, signal.SIGCONT)
        time.sleep(0.05 * turn_s)


def test_a_job_whose_head_died_goes_on_in_another_cluster(ground: ClusterJobs, cluster: NodeCluster) -> None:
    job = ground.job("loses-the-head")
    folder = Path(job.output).parent
    folder.mkdir(parents=True)
    (folder / "job.yaml").write_text(dump_job(job))
    with open_registry(job.registry, folder) as client:
        registry = Registry(client, job.name)
        with node_cluster(head_cpus=12) as first:
            driver = _headrace(first, "run", str(folder / "job.yaml"))
            _await_block(registry, 9, driver)
            first.kill_head()
            assert driver.wait(LIMIT_S) != 0
        with node_cluster(head_cpus=12) as second:
            _resume(second, job.output, registry)
        snapshot = registry.snapshot()
    assert snapshot.job.state is JobState.FINISHED and ledger(snapshot).imbalances() == []
    if not ground.has_ended:
        nodes = [cluster.add()]
        ground.end()
        cluster.remove(nodes[0])
    assert weights(job) == ground.end()


def _headrace(cluster: NodeCluster, *words: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "cluster", *words]
    environment = {**os.environ, "RAY_ADDRESS": cluster.address}
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _await_block(registry: Registry, block: int, driver: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + LIMIT_S
    while True:
        assert driver.poll() is None and time.monotonic() < deadline, "the job did not come so far"
        cursors = [one.cursor for one in registry.snapshot().trainers.values()] if registry.job_state() else []
        if cursors and min(cursors) >= block:
            return
        time.sleep(0.05)


def _resume(cluster: NodeCluster, run_folder: str, registry: Registry) -> None:
    """Typed until it is taken: the older driver counts as alive for some seconds."""
    deadline = time.monotonic() + LIMIT_S
    while registry.job_state() is not JobState.FINISHED:
        assert time.monotonic() < deadline, "the job does not end"
        driver = _headrace(cluster, "resume", run_folder)
        driver.wait(LIMIT_S)
        time.sleep(1.0)
