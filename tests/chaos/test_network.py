"""A node's link is cut under a running job, for good or until others have its work. The weights are the same.

Nobody is told of a cut link: connections stay open, and nothing comes through. What lives on the other side does not
know either, and when the link comes back, it is a crowd of zombies who hold tokens that were given to others.
"""

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import ray

from cluster.controller import Outcome
from shared.registry import Registry
from tests.chaos.ground import Ground
from tests.chaos.network import Network, Place, network
from tests.chaos.node_cluster import NodeCluster, address_of, join, node_cluster
from tests.integration.scenario import run, weights, when_block
from tests.redis_fixtures import external_redis

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1200),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),  # Ray's search for ports closes none
]
JOIN_S = 180.0
REPLACED_S = 300.0


@dataclass
class Site:
    """Two nodes, each in a namespace of its own; the head, Redis and the driver are in none."""

    net: Network
    cluster: NodeCluster
    ground: Ground


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, gpt2_folder: str, corpus_folder: str) -> Iterator[Site]:
    with (
        network() as net,
        external_redis(tmp_path_factory.mktemp("redis"), net.host) as registry,
        node_cluster(host=net.host) as cluster,
    ):
        join(cluster)
        yield Site(net, cluster, Ground(tmp_path_factory.mktemp("cut"), gpt2_folder, corpus_folder, registry.url))
        ray.shutdown()


@pytest.mark.parametrize("comes_back", [False, True], ids=["for-good", "comes-back"])
def test_what_was_behind_a_cut_link_is_replaced_and_refused_when_it_comes_back(comes_back: bool, site: Site) -> None:
    places = [site.net.place(), site.net.place()]
    for place in places:
        place.start_node(site.cluster.address)
    _await_nodes(3)
    expected, job = site.ground.end(), site.ground.job(f"is-cut-{comes_back}")
    cut: list[Place] = []
    menders: list[threading.Thread] = []

    def strike(registry: Registry) -> None:
        place = next(one for one in places if one.address == address_of("lane-0")["IPAddress"])
        place.cut()
        cut.append(place)
        if comes_back:
            menders.append(threading.Thread(target=_mend_when_replaced, args=(registry, place)))
            menders[0].start()

    try:
        seen = run(job, meanwhile=when_block(9, strike))
    finally:
        for mender in menders:
            mender.join(REPLACED_S)
        for place in places:
            place.end_node()
    assert cut and seen.outcome is Outcome.FINISHED and seen.imbalances == []
    assert any(message.startswith("lane-0 ") for message in seen.events), seen.events
    assert len(seen.digests) == 1 and weights(job) == expected


def _mend_when_replaced(registry: Registry, place: Place) -> None:
    """The lane has been given to another process, which those behind the cut link know nothing of."""
    deadline = time.monotonic() + REPLACED_S
    while not any(one.message.startswith("lane-0 ") for one in registry.events(count=1000)):
        if time.monotonic() > deadline:
            return
        time.sleep(0.2)
    place.mend()


def _await_nodes(number: int) -> None:
    deadline = time.monotonic() + JOIN_S
    while sum(node["Alive"] for node in ray.nodes()) != number:
        assert time.monotonic() < deadline, "the nodes have not joined the cluster"
        time.sleep(0.5)
