"""A link is cut under a running job: that of some role's node, of Redis, of the driver. The weights are the same.

Nobody is told of it: connections stay open and nothing comes through; what lives behind it does not know either.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import ray

from cluster.controller import Outcome
from shared.config import Job
from shared.errors import UserError
from shared.job_file import dump_job
from shared.registry import Registry
from shared.registry_connection import RegistryAddress
from tests.chaos.cluster_jobs import ClusterJobs
from tests.chaos.network import ALL_ACTORS, Network, Place, network
from tests.chaos.node_cluster import MARKS, NodeCluster, address_of, join, node_cluster
from tests.integration.scenario import Seen, run, weights, when_block
from tests.redis_fixtures import external_redis

pytestmark = [*MARKS, pytest.mark.timeout(1200)]
LIMIT_S = 120.0
AWAY_S = 50.0
"""Clients of Redis try for 30 s; a heartbeat is missed after as many."""


@dataclass
class Site:
    """A head and Redis, which are in no namespace, as is this process; nodes come, each in one of its own."""

    net: Network
    cluster: NodeCluster
    ground: ClusterJobs
    registry: RegistryAddress

    @contextmanager
    def two_nodes(self) -> Iterator[list[Place]]:
        """Each with room for all actors."""
        places = [self.net.place(), self.net.place()]
        try:
            for place in places:
                _join(place, self.cluster)
            yield places
        finally:
            for place in places:
                place.end_node()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, gpt2_folder: str, corpus_folder: str) -> Iterator[Site]:
    with (
        network() as net,
        external_redis(tmp_path_factory.mktemp("redis"), net.host) as registry,
        node_cluster(host=net.host) as cluster,
    ):
        join(cluster)
        ground = ClusterJobs(tmp_path_factory.mktemp("cut"), gpt2_folder, corpus_folder, registry.url)
        yield Site(net, cluster, ground, registry)
        ray.shutdown()


@pytest.mark.parametrize("role", ["lane-0", "producer-1", "trainer-relu", "evaluator"])
def test_what_was_behind_a_cut_link_is_replaced_elsewhere(role: str, site: Site) -> None:
    cut: list[Place] = []
    with site.two_nodes() as places:
        expected, job = site.ground.end(), site.ground.job(f"cut-from-{role}")

        def strike(registry: Registry) -> None:
            place = next(one for one in places if one.address == address_of(role)["IPAddress"])
            place.cut()
            cut.append(place)

        seen = run(job, meanwhile=when_block(9, strike))
    assert cut and seen.outcome is Outcome.FINISHED and seen.imbalances == []
    assert any(message.startswith(f"{role} ") for message in seen.events), seen.events
    assert len(seen.digests) == 1 and weights(job) == expected


def test_all_wait_while_the_link_of_redis_is_cut(site: Site, tmp_path: Path) -> None:
    far = site.net.place()
    with site.two_nodes(), external_redis(tmp_path, far.address, far.within) as registry:
        expected = site.ground.end()
        job = site.ground.job("cut-from-redis").model_copy(update={"registry": registry.url})

        def strike(registry: Registry) -> None:
            far.cut()
            threading.Timer(AWAY_S, far.mend).start()

        seen = run(job, meanwhile=when_block(9, strike))
    assert seen.outcome is Outcome.FINISHED and seen.imbalances == []
    assert not any(message.endswith(" s later") for message in seen.events), seen.events
    assert seen.snapshot.time_ms - seen.snapshot.job.created_ms > 1000 * AWAY_S
    assert len(seen.digests) == 1 and weights(job) == expected


def test_a_job_whose_driver_is_behind_a_cut_link_goes_on_elsewhere(site: Site) -> None:
    """The driver knows nothing of it; when its link is back it hears that another has taken its job over."""
    with site.two_nodes():
        expected, job = site.ground.end(), site.ground.job("cut-from-driver")
        folder, far = Path(job.output).parent, site.net.place()
        folder.mkdir(parents=True)
        (folder / "job.yaml").write_text(dump_job(job))
        _join(far, site.cluster, num_cpus=0)
        driver = far.call("cluster", "run", str(folder / "job.yaml"), RAY_ADDRESS=site.cluster.address)
        try:
            with site.registry.connect() as client:
                _await(lambda: _cursor(Registry(client, job.name)) >= 9, "the job does not come so far")
            far.cut()
            seen = _resumed(job)
            far.mend()
            assert driver.wait(LIMIT_S) != 0
        finally:
            driver.kill()
            far.end_node()
    assert seen.outcome is Outcome.FINISHED and seen.imbalances == []
    assert len(seen.digests) == 1 and weights(job) == expected


def _cursor(registry: Registry) -> int:
    """Of the trainer that is farthest behind; -1 before there are any."""
    if not registry.job_state():
        return -1
    return min((one.cursor for one in registry.snapshot().trainers.values()), default=-1)


def _resumed(job: Job) -> Seen:
    """As typed until it is taken: the older driver counts as alive for some seconds."""
    deadline = time.monotonic() + LIMIT_S
    while True:
        try:
            return run(job, resume=True)
        except UserError as error:
            assert "already running" in str(error) and time.monotonic() < deadline, error
            time.sleep(1.0)


def _await(is_true: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not is_true():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.2)


def _join(place: Place, cluster: NodeCluster, num_cpus: int = ALL_ACTORS) -> None:
    """One after another: nodes of one machine choose the names of their sockets when they start."""

    def has_joined() -> bool:
        if not place.has_node:  # on a busy machine Ray gives its own agents too little time to start
            place.start_node(cluster.address, num_cpus)
        return place.address in {node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]}

    _await(has_joined, "the node has not joined the cluster")
