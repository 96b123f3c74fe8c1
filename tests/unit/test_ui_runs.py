"""The page's server: runs as files and as a registry tell them, who is refused, and how it starts and ends."""

import base64
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from example_run import example_job, write_example_run
from fastapi.testclient import TestClient
from live_job import live_job

from cluster.exit_code import exit_code
from cluster.ui_answer import json_ready
from cluster.ui_app import create_app
from cluster.ui_runs import Runs
from shared.embedded_redis import EmbeddedRedis
from shared.errors import UserError
from shared.job_file import dump_job
from shared.job_state import JobState
from shared.registry import Registry
from shared.registry_facts import LaneCounters, TrainerCounters

ORIGIN = "http://127.0.0.1:8321"
WRITES = {"Origin": ORIGIN, "Content-Type": "application/json"}


@pytest.fixture(scope="module")
def runs_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("runs")
    write_example_run(root / "whole")
    write_example_run(root / "half", share=0.3, resumed=False)
    (root / "broken").mkdir()
    (root / "broken" / "job.yaml").write_text("name: [")
    (root / "no-run").mkdir()
    return root


@pytest.fixture(scope="module")
def client(runs_folder: Path) -> TestClient:
    return TestClient(create_app(Runs(runs_folder)), base_url=ORIGIN)


def one_of(client: TestClient, name: str) -> dict:
    return next(one for one in client.get("/api/runs").json()["runs"] if one["id"] == name)


def numbers(values: dict[str, str]) -> list[float]:
    """As plotly writes them for its script."""
    return np.frombuffer(base64.b64decode(values["bdata"]), values["dtype"]).tolist()


def test_every_run_is_listed_and_a_damaged_one_says_why(client):
    assert {one["id"] for one in client.get("/api/runs").json()["runs"]} == {"whole", "half", "broken"}
    whole, half, broken = (one_of(client, name) for name in ("whole", "half", "broken"))
    assert whole["state"] == "finished" and whole["tokens"] == 500_000_000 and len(whole["saes"]) == 7
    assert whole["saes"][0]["fvu"] == pytest.approx(0.1576, abs=1e-4)
    assert half["state"] == "not running" and not half["is_live"]
    assert broken["state"] == "damaged" and "job.yaml" in broken["message"]


def test_a_run_is_told_from_its_files_alone(client):
    run = client.get("/api/runs/whole").json()
    assert run["state"] == "finished" and run["status"] is None and run["ledger"]["imbalances"] == []
    assert [one["name"] for one in run["saes"] if one["on_front"]] == ["topk-262144-k32", "topk-262144-k64"]
    assert run["events"][0]["kind"] == "job-finished"
    assert len({(one["colour"], one["dash"]) for one in run["saes"]}) == 7
    half = client.get("/api/runs/half").json()
    assert "Still in training: every SAE." in half["missing"][0] and half["saes"][0]["tokens"] == 150_000_000


def test_held_out_numbers_are_those_of_the_report(client):
    whole, half = (client.get(f"/api/runs/{name}").json()["held_out"] for name in ("whole", "half"))
    assert "Measured on 1,024 contexts (130,048 tokens) that no trainer has read." in whole["lead"]
    assert len(whole["rows"]) == 7 and all(len(one) == len(whole["head"]) for one in whole["rows"])
    row = next(one for one in whole["rows"] if one[0] == "topk-262144-k64")
    assert row[1:5] == ["the end", "0.0884", "64.0", "2.0%"]
    assert {one[1] for one in half["rows"]} == {"150M tokens"}


def test_figures_are_those_of_the_report(client):
    plots = {one["id"]: one["figure"] for one in client.get("/api/runs/whole/plots").json()}
    assert {"fvu-by-tokens", "front", "rows-per-s", "lags", "dead-fraction-by-tokens"} <= plots.keys()
    curve = plots["fvu-by-tokens"]["data"][0]
    assert plots["lags"]["data"][0]["x"][0].startswith("2026-02-02T02:40:00.0")
    assert len(numbers(curve["x"])) == len(numbers(curve["y"])) > 100 and curve["meta"] == "topk-16384-k32"


@pytest.mark.parametrize("name", ["no-run", "missing", "..", "%2e%2e", "..%2f..%2fetc"])
def test_what_is_no_run_is_not_reached(client, name):
    answer = client.get(f"/api/runs/{name}")
    assert answer.status_code in (400, 404) and "error" in answer.json()


@pytest.mark.parametrize(
    ("headers", "why"),
    [
        ({"Host": "evil.example"}, "answers to 127.0.0.1"),
        ({"Host": "127.0.0.1.evil.example:8321"}, "answers to 127.0.0.1"),
        ({"Host": "[::1"}, "answers to 127.0.0.1"),
    ],
)
def test_another_name_than_this_machines_is_refused(client, headers, why):
    answer = client.get("/api/runs", headers=headers)
    assert answer.status_code == 403 and why in answer.json()["error"]


@pytest.mark.parametrize(
    ("headers", "why"),
    [
        ({**WRITES, "Origin": "http://evil.example"}, "only the page itself"),
        ({**WRITES, "Origin": "null"}, "only the page itself"),
        ({**WRITES, "Origin": "http://127.0.0.1:9999"}, "only the page itself"),
        ({"Content-Type": "application/json"}, "a request without Origin"),
        ({**WRITES, "Content-Type": "text/plain"}, "must be application/json"),
        ({**WRITES, "Content-Length": str(2**21)}, "must say its length"),
    ],
)
def test_only_the_page_itself_may_ask_for_something_to_be_done(client, headers, why):
    answer = client.post("/api/anything", content=b"{}", headers=headers)
    assert answer.status_code == 403 and why in answer.json()["error"]


def test_every_answer_forbids_what_the_page_does_not_need(client):
    for path in ("/", "/api/runs", "/assets/main.js", "/nowhere"):
        headers = client.get(path).headers
        assert "default-src 'none'" in headers["content-security-policy"] and headers["x-frame-options"] == "DENY"
        assert "unsafe-inline" not in headers["content-security-policy"].partition("script-src")[2]
        assert "access-control-allow-origin" not in headers
    assert client.get("/assets/ui_app.js").status_code == 404


def test_no_password_is_in_any_answer(tmp_path):
    job = example_job().model_copy(update={"registry": "redis://:s3cret-word@127.0.0.1:1/0"})
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "job.yaml").write_text(dump_job(job))
    client = TestClient(create_app(Runs(tmp_path)), base_url=ORIGIN)
    for path in ("/api/runs", "/api/runs/run", "/api/runs/run/plots"):
        answer = client.get(path)
        assert answer.status_code == 200 and "s3cret-word" not in answer.text


@pytest.fixture
def live(tmp_path: Path) -> Iterator[tuple[TestClient, Registry, int, Path]]:
    """A job in an embedded registry, with a driver that lives; its token."""
    with live_job(tmp_path) as job:
        yield TestClient(create_app(Runs(tmp_path)), base_url=ORIGIN), job.registry, job.token, tmp_path


def test_a_running_job_is_followed_and_stays_when_its_registry_is_gone(live):
    client, registry, token, folder = live
    lane, trainer = registry.claim_role(token, "lane-0"), registry.claim_role(token, "trainer-relu-16384")
    registry.publish_lane(0, lane, LaneCounters(pushed=32_768, emitted=32_768, next_block=4, rows_per_s=9.0))
    registry.publish_trainer(
        "relu-16384", trainer, TrainerCounters(1, 16_384, state="running", rows_per_s=5.0, fvu=0.25, l0=50.0)
    )
    for tokens in (8_192, 16_384):
        time.sleep(0.005)  # measurements of one source are told apart by their ms
        registry.add_metrics("trainer-relu-16384", {"tokens": tokens, "fvu": 0.25, "l0": 50.0, "rows_per_s": 5.0})
    registry.add_metrics("evaluation-relu-16384", {"tokens": 8_192, "contexts": 64, "fvu": 0.5})
    registry.add_event("producer-died", "producer-1 died (exit 137)")
    run = client.get("/api/runs/now").json()
    assert run["is_live"] and run["state"] == "running"
    relu = next(one for one in run["saes"] if one["name"] == "relu-16384")
    assert relu["tokens"] == 16_384 and relu["fvu"] == 0.25 and relu["lag_blocks"] == 1
    assert [one[:3] for one in run["held_out"]["rows"]] == [["relu-16384", "8.19k tokens", "0.5000"]]
    assert run["events"][0]["message"] == "producer-1 died (exit 137)" and run["ledger"]["emitted"] == 32_768
    (curve,) = (one for one in client.get("/api/runs/now/plots").json() if one["id"] == "fvu-by-tokens")
    assert numbers(curve["figure"]["data"][0]["y"]) == [0.25, 0.25]
    assert one_of(client, "now")["is_live"]
    EmbeddedRedis(folder).stop()
    assert one_of(client, "now")["state"] == "not running"
    assert client.get("/api/runs/now").json()["status"] is None


def test_looking_starts_no_registry_and_keeps_none_alive(live):
    client, registry, token, folder = live
    client.get("/api/runs")
    registry.set_state(token, JobState.STOPPED)
    registry._client.close()
    assert EmbeddedRedis(folder).stop_if_idle()
    client.get("/api/runs")
    assert EmbeddedRedis(folder).stop_if_idle() is False


def test_a_run_may_be_given_instead_of_a_folder_of_runs(runs_folder):
    assert Runs(runs_folder / "half").names() == ["half"]
    with pytest.raises(UserError, match="there is no folder"):
        Runs(runs_folder / "missing")


def test_json_holds_no_number_that_is_none():
    assert (
        json.dumps(json_ready({"a": [float("nan"), 1.5, {"b": (float("inf"),)}]}))
        == '{"a": [null, 1.5, {"b": [null]}]}'
    )


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.0.7", "::"])
def test_another_host_than_this_one_is_a_sentence(host, capsys):
    assert exit_code(["ui", "--host", host]) == 2
    assert "--host must be one of 127.0.0.1, localhost, ::1" in capsys.readouterr().err.replace("\n", " ")


def test_a_port_in_use_is_a_sentence(runs_folder, capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert exit_code(["ui", str(runs_folder), "--port", str(port)]) == 2
    assert f"port {port} of 127.0.0.1 is in use" in capsys.readouterr().err.replace("\n", " ")


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_server_cleanly(runs_folder, ending):
    command = [sys.executable, "-m", "cluster", "ui", str(runs_folder), "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        assert server.stdout.readline().startswith("page  http://127.0.0.1:")
        server.send_signal(ending)
        _, said = server.communicate(timeout=60)
        assert (server.returncode, said) == (0, "")
    finally:
        server.kill()
        server.wait()
