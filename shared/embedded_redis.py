"""One real redis-server for all jobs under a runs folder: started when first needed, stopped when nobody needs it.

Its files lie in `<runs folder>/.registry`, which only its owner can enter: the append-only file, the password, the log.
It listens on a unix socket only, in a folder of ours under the temporary one, because a socket's path must be short. It
runs in a session of its own, so that Ctrl-C does not reach it.
"""

import hashlib
import logging
import os
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from urllib.parse import quote

import redis
from filelock import FileLock, Timeout

from shared.disk import is_full, room_for
from shared.errors import HeadraceError, RegistryError, RegistryUnreachable, UserError
from shared.registry import list_jobs
from shared.registry_connection import RegistryAddress, client_name, connect_registry, registry_errors
from shared.registry_server import create_secret, find_server, is_server_alive, launch

log = logging.getLogger(__name__)
START_S = 60.0
"""A long append-only file takes some seconds to load."""
STOP_S = 10.0
GRACE_S = 1.0
"""Processes that end just now have so long to hang up."""


MAX_SOCKET_BYTES = 100
"""Of a socket's path; the system takes 107, or 103."""


class EmbeddedRedis:
    """`with EmbeddedRedis(runs) as client`: starts the server if need be, and stops it if nobody else needs it."""

    def __init__(self, runs_folder: Path) -> None:
        self.folder = runs_folder.resolve() / ".registry"
        self._client: redis.Redis | None = None

    def connect(self) -> redis.Redis:
        """A client of the running server, which is started if it does not answer.

        Raises:
            RegistryError: it cannot be started, or its folder is not ours.
            RegistryUnreachable: a server holds the folder but does not answer; it hangs, or is on another machine.
        """
        _private_folder(self.folder)
        with self._lock():
            try:
                with room_for("the registry", self.folder):
                    self._start()
            except RegistryError:
                self._clear_socket()
                raise
            client = self.address().connect()
            with registry_errors(client):
                client.ping()
        return client

    def stop_if_idle(self) -> bool:
        """Stops the server when no job has a live driver and no other process is connected; True if it stopped."""
        if not self.folder.exists():
            return False
        with self._lock():
            if not self._answers() or not self._is_idle():
                return False
            self._shut_down()
        return True

    def stop(self) -> None:
        """Stops the server if it runs, whoever needs it; its append-only file keeps everything."""
        if self.folder.exists():
            with self._lock():
                if self._answers():
                    self._shut_down()

    def url(self) -> str:
        """Where processes of this machine find it; without the password."""
        return f"unix://{quote(str(self._socket()))}"

    def address(self) -> RegistryAddress:
        """The URL and the file with the password."""
        return RegistryAddress(self.url(), str(self.folder / "secret"))

    def __enter__(self) -> redis.Redis:
        self._client = self.connect()
        return self._client

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._client is not None:
            self._client.close()
        try:
            self.stop_if_idle()
        except HeadraceError as error:  # whoever comes next will find it running
            log.warning("registry=%s not stopped: %s", self.folder, error)

    @contextmanager
    def _lock(self) -> Iterator[None]:
        """One process at a time starts or stops the server."""
        try:
            with FileLock(self.folder / "start.lock", timeout=START_S + STOP_S, mode=0o600):
                yield
        except Timeout as error:
            raise RegistryUnreachable(f"another process has been starting {self.folder} for too long") from error

    def _socket(self) -> Path:
        """As the running server has it, since its starter's temporary folder may be another than ours."""
        recorded = self.folder / "socket"
        return Path(recorded.read_text(encoding="utf-8")) if recorded.exists() else self._new_socket()

    def _new_socket(self) -> Path:
        name = hashlib.sha256(os.fsencode(self.folder)).hexdigest()[:16]
        socket = Path(tempfile.gettempdir()) / f"headrace-{name}" / "redis.sock"
        is_short = len(os.fsencode(socket)) <= MAX_SOCKET_BYTES
        return socket if is_short else Path("/tmp", *socket.parts[-2:])

    def _start(self) -> None:
        """Launches a server unless one is alive, such as one that still loads its file; waits until it answers."""
        deadline, is_launched = time.monotonic() + START_S, False
        while not self._answers():
            if not is_server_alive(self.folder):
                if is_launched:
                    raise RegistryError(f"the registry's redis-server ended at once, saying: {self._last_words()}")
                self._launch()
                is_launched = True
            if time.monotonic() > deadline:
                raise RegistryUnreachable(f"a redis-server holds {self.folder} but does not answer on this machine")
            time.sleep(0.02)

    def _launch(self) -> None:
        socket = self._new_socket()
        _private_folder(socket.parent)
        socket.unlink(missing_ok=True)
        secret = create_secret(self.folder / "secret")
        (self.folder / "socket").write_text(str(socket), encoding="utf-8")
        launch(find_server(), self.folder, socket, secret)

    def _last_words(self) -> str:
        log = self.folder / "redis.log"
        return log.read_text(errors="replace").strip().rpartition("\n")[2] if log.exists() else "nothing"

    def _answers(self) -> bool:
        if not (self.folder / "secret").exists():
            return False
        try:
            with self._probe() as client:
                return bool(client.ping())
        except (redis.ConnectionError, redis.TimeoutError):
            return False
        except redis.ResponseError:  # MISCONF: it lives, and its disk is full
            return True

    def _probe(self) -> redis.Redis:
        """A client without patience."""
        return connect_registry(self.url(), self.folder / "secret", num_retries=0)

    def _is_idle(self) -> bool:
        with self._probe() as client, registry_errors(client):
            if any(job.is_active for job in list_jobs(client)):
                return False
            deadline = time.monotonic() + GRACE_S
            while _has_others(client):
                if time.monotonic() > deadline:
                    return False
                time.sleep(0.05)
        return True

    def _shut_down(self) -> None:
        with self._probe() as client, registry_errors(client):
            client.shutdown()
        deadline = time.monotonic() + STOP_S
        while is_server_alive(self.folder) and time.monotonic() < deadline:
            time.sleep(0.01)
        self._clear_socket()

    def _clear_socket(self) -> None:
        """No server is alive: nothing stays under the temporary folder."""
        socket = self._socket()
        with suppress(OSError):
            socket.unlink(missing_ok=True)
            socket.parent.rmdir()


def _has_others(client: redis.Redis) -> bool:
    """Another process is connected to the server."""
    return any(one["name"] != client_name() for one in client.client_list())


def _private_folder(path: Path) -> None:
    """Makes the folder, for its owner only.

    Raises:
        UserError: nobody can make it there. RegistryError: someone else's, or something else, is there.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(mode=0o700)
    except FileExistsError:
        found = path.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
            raise RegistryError(f"{path} must be a folder that belongs to you") from None
    except OSError as error:
        if is_full(error):
            raise
        raise UserError(f"output: nothing can be written in {path.parent}: {error.strerror}") from None
    path.chmod(0o700)
