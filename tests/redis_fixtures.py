"""Real Redis servers for tests: an embedded one, and two on loopback ports as users may have them.

One has a password; the other speaks TLS only, asks for a certificate, and knows one user with the rights that
docs/clusters.md gives it.
"""

import re
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from shared.embedded_redis import EmbeddedRedis
from shared.registry import Registry
from shared.registry_connection import RegistryAddress
from shared.registry_facts import End, Lease, StreamPoint, Wait
from shared.registry_keys import key


@pytest.fixture(scope="session")
def embedded_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryAddress]:
    embedded = EmbeddedRedis(tmp_path_factory.mktemp("runs"))
    embedded.connect().close()
    yield embedded.address()
    embedded.stop()


@pytest.fixture(scope="session")
def external_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryAddress]:
    with external_redis(tmp_path_factory.mktemp("external")) as address:
        yield address


@contextmanager
def external_redis(folder: Path, host: str = "127.0.0.1", within: tuple[str, ...] = ()) -> Iterator[RegistryAddress]:
    """A server with a password, as a user may have one; it listens at `host`. `within` runs it: `ip netns exec …`."""
    binary = shutil.which("redis-server")
    if binary is None:
        pytest.skip("there is no redis-server on PATH to stand for a user's own")
    port, password = _free_port(), secrets.token_hex(16)
    config = f'bind {host}\nport {port}\nrequirepass {password}\nsave ""\n'
    server = _launch(binary, folder, config, within)
    address = RegistryAddress(f"redis://:{password}@{host}:{port}/0")
    _await_answer(address)
    yield address
    server.terminate()
    server.wait(10)


@pytest.fixture(scope="session")
def secured_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryAddress]:
    binary, openssl = shutil.which("redis-server"), shutil.which("openssl")
    if binary is None or openssl is None:
        pytest.skip("there is no redis-server, or no openssl, on PATH")
    folder, port, password = tmp_path_factory.mktemp("secured"), _free_port(), secrets.token_hex(16)
    words = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=headrace-tests"]
    words += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "key.pem", "-out", "cert.pem"]
    subprocess.run(words, cwd=folder, check=True, capture_output=True)
    files = "tls-cert-file cert.pem\ntls-key-file key.pem\ntls-ca-cert-file cert.pem"
    user = documented_user().replace("PASSWORD", password)
    config = f'bind 127.0.0.1\nport 0\ntls-port {port}\n{files}\nsave ""\nuser default off\n{user}\n'
    server = _launch(binary, folder, config)
    options = "".join(f"&{name}={folder}/{file}" for name, file in TLS_FILES.items())
    address = RegistryAddress(f"rediss://headrace:{password}@127.0.0.1:{port}/0?{options[1:]}")
    _await_answer(address)
    yield address
    server.terminate()
    server.wait(10)


TLS_FILES = {"ssl_ca_certs": "cert.pem", "ssl_certfile": "cert.pem", "ssl_keyfile": "key.pem"}


def documented_user() -> str:
    """The line of redis.conf for the user that docs/clusters.md describes."""
    text = (Path(__file__).resolve().parents[1] / "docs" / "clusters.md").read_text()
    (rights,) = re.findall(r"^ *ACL SETUSER (headrace .*)$", text, re.MULTILINE)
    return f"user {rights}"


@pytest.fixture(params=["embedded", "secured"])
def address(request: pytest.FixtureRequest) -> RegistryAddress:
    """A registry's address, once of either kind."""
    found: RegistryAddress = request.getfixturevalue(f"{request.param}_address")
    return found


@pytest.fixture
def client(address: RegistryAddress) -> Iterator[redis.Redis]:
    with address.connect() as client:
        yield client


@pytest.fixture
def registry(client: redis.Redis) -> Registry:
    """A registry for a job that no other test knows, which nobody has claimed."""
    return Registry(client, f"job-{secrets.token_hex(6)}")


@pytest.fixture
def driver(registry: Registry) -> int:
    """The token of the driver of a stream of 20 units, two lanes with a window of 3, two trainers."""
    token = registry.claim_job("name: demo", "runs/demo", resume=False)
    registry.begin_stream(token, StreamPoint.fresh(20, 3, 100, 2, ["a", "b"]))
    return token


def claim(registry: Registry, role: str) -> int:
    """A new token for `role`, as the job's driver asks for it."""
    return registry.claim_role(int(registry._job_field("driver") or 0), role)


def ask_for_unit(registry: Registry, producer: str, ttl_ms: int) -> Lease | Wait | End:
    """As the process that holds the producer's role asks for a unit."""
    token: Any = registry._client.hget(key(registry.job, "roles"), producer)
    return registry.lease_unit(producer, int(token) if token else claim(registry, producer), ttl_ms)


def release(registry: Registry, producer: str, *reason: str, is_blamed: bool = True) -> list[int]:
    """As the job's driver does when the producer has died."""
    return registry.release_producer(int(registry._job_field("driver") or 0), producer, *reason, is_blamed=is_blamed)


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def _launch(binary: str, folder: Path, config: str, within: tuple[str, ...] = ()) -> subprocess.Popen[bytes]:
    """The configuration goes through stdin, so that no process list shows the password."""
    server = subprocess.Popen([*within, binary, "-"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, cwd=folder)
    assert server.stdin is not None
    server.stdin.write(config.encode())
    server.stdin.close()
    return server


def _await_answer(address: RegistryAddress) -> None:
    deadline = time.monotonic() + 10
    while True:
        try:
            with address.connect() as client:
                client.ping()
                return
        except redis.ConnectionError:
            assert time.monotonic() < deadline, "redis-server did not start"
            time.sleep(0.05)
