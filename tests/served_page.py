"""The server of the page in this process, for tests that have a browser."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cluster.ui_app import create_app
from cluster.ui_runs import Runs
from cluster.ui_server import Server, address, listen


@contextmanager
def served(runs: Path) -> Iterator[str]:
    """Its address, over the runs in a folder."""
    listener, ready = listen("127.0.0.1", 0), threading.Event()
    server = Server(create_app(Runs(runs)), ready.set)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        assert ready.wait(30)
        yield address(listener)
    finally:
        server.should_exit = True
        thread.join(30)
        listener.close()
