import logging
import threading
import warnings
from pathlib import Path

import pytest

from cluster.driver_log import driver_log, keep_traceback
from shared.errors import JobFailed, RegistryUnreachable, UserError


def test_what_is_logged_goes_to_the_file_and_nowhere_else(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = logging.getLogger().handlers[:]
    with driver_log(tmp_path), warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.getLogger("cluster").info("role=lane-0 started")
        warnings.warn("of a library", stacklevel=1)
    text = (tmp_path / "driver.log").read_text()
    assert "INFO cluster role=lane-0 started" in text and "of a library" in text
    assert capfd.readouterr() == ("", "")
    assert logging.getLogger().handlers == before


def test_runs_of_one_folder_follow_each_other_in_it(tmp_path: Path) -> None:
    for number in range(2):
        with driver_log(tmp_path):
            logging.getLogger("cluster").info("run=%d", number)
    assert (tmp_path / "driver.log").read_text().count("run=") == 2


def test_unforeseen_error_becomes_a_sentence_that_says_where_its_traceback_is(tmp_path: Path) -> None:
    with pytest.raises(JobFailed) as caught, driver_log(tmp_path):
        raise ZeroDivisionError("by nought\nand more")
    log = tmp_path / "driver.log"
    assert str(caught.value) == f"ZeroDivisionError: by nought (the traceback is in {log})"
    assert "Traceback (most recent call last)" in log.read_text()


def test_own_errors_pass_as_they_are(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="tokens must be") as caught, driver_log(tmp_path):
        raise UserError("tokens must be at least 1, got 0")
    assert caught.value.exit_code == 2


def test_registry_lost_while_running_fails_the_job(tmp_path: Path) -> None:
    with pytest.raises(JobFailed, match="does not answer") as caught, driver_log(tmp_path):
        raise RegistryUnreachable("the registry does not answer")
    assert (RegistryUnreachable.exit_code, caught.value.exit_code) == (2, 1)


def test_thread_that_dies_is_logged(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with driver_log(tmp_path):
        thread = threading.Thread(target=lambda: 1 // 0, name="heartbeat")
        thread.start()
        thread.join()
    assert "thread=heartbeat died" in (tmp_path / "driver.log").read_text()
    assert capfd.readouterr().err == ""


def test_traceback_without_a_run_folder_is_kept_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    try:
        raise ZeroDivisionError("by nought")
    except ZeroDivisionError as error:
        path = keep_traceback(error)
    assert path.parent == tmp_path and path.read_text().endswith("ZeroDivisionError: by nought\n")
