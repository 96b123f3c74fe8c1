"""A network of namespaces on this machine: one bridge, and a cable to each that can be pulled out.

It stands for several machines as far as packets go; memory, disk and clock are shared. Needs the rights of root.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from tests.chaos.node_cluster import STORE_BYTES
from tests.integration.ray_cluster import ROOT

STOP_S = 30.0
ALL_ACTORS = 12
"""CPUs that those of a small job reserve, and some more."""
SEVERAL_MACHINES = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
"""Tests set it to 0, so that Ray listens on loopback only; `ray start` then joins no cluster."""


class Network:
    """Addresses 10.213.N.1, where this process is, and 10.213.N.2 …, one for each namespace."""

    def __init__(self) -> None:
        self._name = f"hr{os.getpid()}"
        self._subnet = f"10.213.{os.getpid() % 250}"
        self.host = f"{self._subnet}.1"
        self._places: list[Place] = []
        _ip("link", "add", self._name, "type", "bridge")
        _ip("addr", "add", f"{self.host}/24", "dev", self._name)
        _ip("link", "set", self._name, "up")

    def place(self) -> "Place":
        """Another namespace, connected."""
        number = len(self._places)
        place = Place(f"{self._name}n{number}", f"{self._subnet}.{number + 2}", self._name)
        self._places.append(place)
        return place

    def close(self) -> None:
        for place in self._places:
            place.close()
        _ip("link", "del", self._name)


class Place:
    """One namespace, and the Ray node in it if there is one."""

    def __init__(self, name: str, address: str, bridge: str) -> None:
        self._name, self.address = name, address
        self._node: subprocess.Popen[bytes] | None = None
        _ip("netns", "add", name)
        _ip("link", "add", f"{name}a", "type", "veth", "peer", "name", f"{name}b")
        _ip("link", "set", f"{name}a", "master", bridge, "up")
        _ip("link", "set", f"{name}b", "netns", name)
        _ip("-n", name, "addr", "add", f"{address}/24", "dev", f"{name}b")
        _ip("-n", name, "link", "set", f"{name}b", "up")
        _ip("-n", name, "link", "set", "lo", "up")

    @property
    def within(self) -> tuple[str, ...]:
        """What runs the command that follows in it."""
        return "ip", "netns", "exec", self._name

    def call(self, *words: str, **variables: str) -> subprocess.Popen[bytes]:
        """Starts a Python module in it, as on a machine of a cluster of several."""
        environment, quiet = {**os.environ, SEVERAL_MACHINES: "1", **variables}, subprocess.DEVNULL
        command = [*self.within, sys.executable, "-m", *words]
        return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=quiet, stderr=quiet)

    def start_node(self, cluster_address: str, num_cpus: int = ALL_ACTORS) -> None:
        """A node of that Ray cluster, by default with room for all actors of a small job; it joins after a while."""
        where = ["--address", cluster_address, "--node-ip-address", self.address]
        room = ["--num-cpus", str(num_cpus), "--object-store-memory", str(STORE_BYTES)]
        self._node = self.call("ray.scripts.scripts", "start", *where, *room, "--block")

    @property
    def has_node(self) -> bool:
        """It runs, whether it has joined or not."""
        return self._node is not None and self._node.poll() is None

    def cut(self) -> None:
        """No packet passes any more, either way; nobody is told."""
        _ip("link", "set", f"{self._name}a", "down")

    def mend(self) -> None:
        """Packets pass again."""
        _ip("link", "set", f"{self._name}a", "up")

    def close(self) -> None:
        self.end_node()
        with suppress(subprocess.CalledProcessError):
            _ip("link", "del", f"{self._name}a")
        _ip("netns", "del", self._name)

    def end_node(self) -> None:
        """Its own processes are those in the namespace, and no others are."""
        if self._node is None:
            return
        self._node.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._node.wait(STOP_S)
        for pid in _ip("netns", "pids", self._name).split():
            with suppress(ProcessLookupError):
                os.kill(int(pid), 9)
        self._node.wait(STOP_S)


@contextmanager
def network() -> Iterator[Network]:
    """Skips the test where a network cannot be made."""
    try:
        made = Network()
    except (FileNotFoundError, subprocess.CalledProcessError) as error:
        said = error.stderr.strip() if isinstance(error, subprocess.CalledProcessError) else "there is no `ip` here"
        pytest.skip(f"no network can be made here, which takes root and CAP_NET_ADMIN: {said}")
    try:
        yield made
    finally:
        made.close()


def _ip(*words: str) -> str:
    return subprocess.run(("ip", *words), check=True, capture_output=True, text=True).stdout
