"""The server of `headrace ui`: one process, loopback only, until Ctrl-C."""

import errno
import logging
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from cluster.ui_guard import check_host
from shared.errors import UserError

GRACE_S = 2
"""What is still being answered when the server is told to end has so long."""
BACKLOG = 64


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens there; port 0 takes any that is free. Raises UserError if that cannot be had."""
    check_host(host)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise UserError(_why_not(host, port, error)) from None
    return listener


def address(listener: socket.socket) -> str:
    """`http://127.0.0.1:8321/`."""
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


def serve(app: ASGIApp, listener: socket.socket, when_ready: Callable[[], None]) -> None:
    """Answers until SIGINT or SIGTERM, or until `Server.should_exit`; closes the listener."""
    server = Server(app, when_ready)
    with listener:
        server.run(sockets=[listener])


class Server(uvicorn.Server):
    """uvicorn's, but a signal ends it as a command that has done its work."""

    def __init__(self, app: ASGIApp, when_ready: Callable[[], None]) -> None:
        super().__init__(
            uvicorn.Config(app, lifespan="off", log_level="warning", timeout_graceful_shutdown=GRACE_S, ws="none")
        )
        self._when_ready = when_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._when_ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """What is cut off from here on is cut off on purpose, and nothing to report."""
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
        super().handle_exit(sig, frame)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """As uvicorn, which raises them again in the end; a thread that is not the main one gets none."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {one: signal.signal(one, self.handle_exit) for one in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for one, handler in before.items():
                signal.signal(one, handler)


def _why_not(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} of {host} is in use; give another with --port, or --port 0 for any"
    if error.errno == errno.EACCES:
        return f"port {port} is not for every user; give one above 1023 with --port"
    return f"cannot listen on port {port} of {host}: {error.strerror}"
