"""The driver's log: `driver.log` in the run folder, so that the terminal is left to the progress.

While it is open, standard logging, warnings and the tracebacks of threads go there. So does the traceback of an
exception that nobody foresaw; what a person sees of that is one sentence which says where it is.
"""

import logging
import sys
import tempfile
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from shared.errors import HeadraceError, JobFailed, RegistryUnreachable

log = logging.getLogger(__name__)
NAME = "driver.log"
FORMAT = "%(asctime)s %(levelname)s %(name)s %(message)s"


@contextmanager
def driver_log(run_folder: Path) -> Iterator[None]:
    """Logs into `run_folder` while the block runs.

    Raises:
        JobFailed: instead of an exception that is none of ours, and of a registry that was lost on the way.
    """
    path = run_folder / NAME
    with _handlers(path):
        try:
            yield
        except RegistryUnreachable as error:
            raise JobFailed(str(error)) from error
        except HeadraceError:
            raise
        except Exception as error:
            log.exception("the driver ends")
            raise JobFailed(unforeseen(error, path)) from error


def unforeseen(error: BaseException, path: Path) -> str:
    """The sentence for an exception that is none of ours, whose traceback is in `path`."""
    said = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}{': ' + said if said else ''} (the traceback is in {path})"


def keep_traceback(error: BaseException) -> Path:
    """Writes the traceback into a file of its own, where there is no run folder to hold it."""
    with tempfile.NamedTemporaryFile(
        "w", prefix="headrace-", suffix=".log", delete=False, encoding="utf-8", errors="replace"
    ) as file:
        file.writelines(traceback.format_exception(error))
    return Path(file.name)


class LogFile(logging.FileHandler):
    """A log that goes without what its disk has no room for."""

    def handleError(self, record: logging.LogRecord) -> None:
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)


@contextmanager
def _handlers(path: Path) -> Iterator[None]:
    """The root logger, warnings and threads write to `path`; as before at the end."""
    root, hook = logging.getLogger(), threading.excepthook
    before, level = root.handlers[:], root.level
    handler = LogFile(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter(FORMAT))
    root.handlers, threading.excepthook = [handler], _log_thread
    root.setLevel(logging.INFO)
    logging.captureWarnings(True)
    try:
        yield
    finally:
        logging.captureWarnings(False)
        root.setLevel(level)
        root.handlers, threading.excepthook = before, hook
        with suppress(OSError):
            handler.close()


def _log_thread(found: threading.ExceptHookArgs) -> None:
    name = found.thread.name if found.thread else "?"
    if found.exc_value is not None:
        log.error("thread=%s died", name, exc_info=(found.exc_type, found.exc_value, found.exc_traceback))
