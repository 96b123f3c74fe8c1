"""A node's link is cut under a running job. The weights are the same.

Nobody is told of it: connections stay open and nothing comes through; what lives behind it does not know either.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import ray

from cluster.controller import Outcome
from shared.registry import Registry
from tests.chaos.cluster_jobs import ClusterJobs
from tests.chaos.network import Network, Place, network
from tests.chaos.node_cluster import MARKS, NodeCluster, address_of, join, node_cluster
from tests.integration.scenario import run, weights, when_block
from tests.redis_fixtures import external_redis

pytestmark = [*MARKS, pytest.mark.timeout(1200)]
JOIN_S = 120.0


@dataclass
class Site:
    """Two nodes, each in a namespace of its own; the head, Redis and the driver are in none."""

    net: Network
    cluster: NodeCluster
    ground: ClusterJobs


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, gpt2_folder: str, corpus_folder: str) -> Iterator[Site]:
    with (
        network() as net,
        external_redis(tmp_path_factory.mktemp("redis"), net.host) as registry,
        node_cluster(host=net.host) as cluster,
    ):
        join(cluster)
        yield Site(net, cluster, ClusterJobs(tmp_path_factory.mktemp("cut"), gpt2_folder, corpus_folder, registry.url))
        ray.shutdown()


def test_what_was_behind_a_cut_link_is_replaced_elsewhere(site: Site) -> None:
    places = [site.net.place(), site.net.place()]
    for place in places:
        _join(place, site.cluster)
    expected, job = site.ground.end(), site.ground.job("is-cut")
    cut: list[Place] = []

    def strike(registry: Registry) -> None:
        place = next(one for one in places if one.address == address_of("lane-0")["IPAddress"])
        place.cut()
        cut.append(place)

    try:
        seen = run(job, meanwhile=when_block(9, strike))
    finally:
        for place in places:
            place.end_node()
    assert cut and seen.outcome is Outcome.FINISHED and seen.imbalances == []
    assert any(message.startswith("lane-0 ") for message in seen.events), seen.events
    assert len(seen.digests) == 1 and weights(job) == expected


def _join(place: Place, cluster: NodeCluster) -> None:
    """One after another: nodes of one machine choose the names of their sockets when they start."""
    deadline = time.monotonic() + JOIN_S
    while place.address not in {node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]}:
        assert time.monotonic() < deadline, "the node has not joined the cluster"
        if not place.has_node:  # on a busy machine Ray gives its own agents too little time to start
            place.start_node(cluster.address)
        time.sleep(0.5)
