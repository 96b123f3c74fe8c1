from pathlib import Path

import pytest

from cluster.submission import DEFAULT_ADDRESS, dashboard_address, runtime_env
from shared.errors import UserError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def no_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)


def test_what_was_written_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://other:8265")
    assert dashboard_address("https://head:8265") == "https://head:8265"
    assert dashboard_address("head:8265") == "http://head:8265"


def test_the_variables_of_ray_job_submit_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    assert dashboard_address("") == DEFAULT_ADDRESS
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert dashboard_address("") == DEFAULT_ADDRESS
    monkeypatch.setenv("RAY_ADDRESS", "http://head:8265")
    assert dashboard_address("") == "http://head:8265"
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://other:8265")
    assert dashboard_address("") == "http://other:8265"


@pytest.mark.parametrize("address", ["auto", "ray://head:10001"])
def test_what_is_no_dashboard_is_refused(address: str) -> None:
    with pytest.raises(UserError, match="must be the URL of a Ray dashboard"):
        dashboard_address(address)


def test_our_packages_go_along_where_the_folder_lacks_them(tmp_path: Path) -> None:
    assert "py_modules" not in runtime_env(ROOT)
    assert {Path(one).name for one in runtime_env(tmp_path)["py_modules"]} >= {"cluster", "shared"}


def test_a_job_gets_time_to_save_and_the_folder_that_it_came_from(tmp_path: Path) -> None:
    variables = runtime_env(tmp_path)["env_vars"]
    assert variables == {"RAY_JOB_STOP_WAIT_TIME_S": "120", "HEADRACE_SUBMITTED_FROM": str(tmp_path)}
