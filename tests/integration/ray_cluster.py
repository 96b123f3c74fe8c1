"""A Ray cluster as users start it, `ray start --head` with a token, in a home of its own and on ports of its own."""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]
START_S = 60.0
METRICS_EVERY_S = 0.5
TWO_TRAINERS = ("trainers.0.num_latents=512",)
"""Of the demo's four, topk-512 and relu-1024."""
SHORT = ("stream.buffer_rows=8192", "stream.block_rows=2048", "checkpoint.every_blocks=10")


@dataclass(frozen=True)
class RayCluster:
    """A cluster that runs."""

    environment: dict[str, str]
    """Of a user's shell: HOME with the token, PATH with ray, and no address."""
    home: Path
    gcs: str
    dashboard: str
    metrics: str

    def call(self, *words: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
        """Runs a command as that user does; a variable that is "" is unset."""
        environment = {key: value for key, value in {**self.environment, **variables}.items() if value}
        return subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True, timeout=240)

    def headrace(self, *words: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
        variables = {"PYTHONPATH": str(ROOT), **variables}
        return self.call(sys.executable, "-m", "cluster", *words, cwd=cwd, **variables)


class Series:
    """Series that the metrics port has ever shown, read in the background: `ray_headrace_lane_resident{…}`."""

    def __init__(self, url: str) -> None:
        self.seen: dict[str, float] = {}
        self._url, self._ending = url, threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def of(self, name: str) -> dict[str, float]:
        """role -> the last value of the series of that name."""
        found = {key: value for key, value in self.seen.items() if key.startswith(f"{name}{{")}
        return {key.partition('role="')[2].partition('"')[0]: value for key, value in found.items()}

    def close(self) -> None:
        self._ending.set()
        self._thread.join(10)

    def _look(self) -> None:
        while not self._ending.wait(METRICS_EVERY_S):
            for line in _read(self._url).splitlines():
                if line.startswith("ray_headrace_"):
                    series, _, value = line.rpartition(" ")
                    self.seen[series] = float(value)


@contextmanager
def ray_start_head(stop_wait_s: int | None = 120) -> Iterator[RayCluster]:
    """Runs until the block ends; then its processes, and nobody else's, are killed.

    `ray job stop` leaves a job `stop_wait_s` to save; by default those that ray_config.yaml has, and with None Ray's 3.
    """
    folder = Path("/tmp") / f"hr-{secrets.token_hex(3)}"  # short: the paths of Ray's sockets must be
    cluster, ports = _describe(folder), _free_ports(3)
    server = {
        **cluster.environment,
        "RAY_AUTH_MODE": "token",
        "RAY_metrics_report_interval_ms": "1000",
    }
    if stop_wait_s is not None:
        server["RAY_JOB_STOP_WAIT_TIME_S"] = str(stop_wait_s)
    words = ["ray", "start", "--head", "--block", "--num-cpus=2", f"--object-store-memory={300 * 2**20}"]
    words += [f"--port={cluster.gcs.rpartition(':')[2]}", f"--dashboard-port={cluster.dashboard.rpartition(':')[2]}"]
    words += [f"--metrics-export-port={cluster.metrics.rpartition(':')[2].partition('/')[0]}", "--disable-usage-stats"]
    words += [f"--ray-client-server-port={ports[0]}", f"--dashboard-agent-listen-port={ports[1]}"]
    words += [f"--dashboard-agent-grpc-port={ports[2]}", f"--temp-dir={folder / 'ray'}", "--dashboard-host=127.0.0.1"]
    with open(folder / "start.log", "w") as log:
        head = subprocess.Popen(words, cwd=folder, env=server, stdout=log, stderr=log, start_new_session=True)
    try:
        _await_dashboard(cluster, head)
        yield cluster
    finally:
        _kill(head)
        shutil.rmtree(folder, ignore_errors=True)


def copy_checkout(folder: Path) -> Path:
    """What a clean checkout would hold: what git tracks, or would."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    return folder


def _describe(folder: Path) -> RayCluster:
    home = folder / "home"
    (home / ".ray").mkdir(parents=True)
    (home / ".ray" / "auth_token").write_text(secrets.token_hex(32))
    kept = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    gcs, dashboard, metrics = _free_ports(3)
    return RayCluster(
        {**kept, "HOME": str(home), "PATH": path, "HF_HUB_OFFLINE": "1"},
        home,
        f"127.0.0.1:{gcs}",
        f"http://127.0.0.1:{dashboard}",
        f"http://127.0.0.1:{metrics}/metrics",
    )


def _free_ports(count: int) -> list[int]:
    holders = [socket.socket() for _ in range(count)]
    try:
        for holder in holders:
            holder.bind(("127.0.0.1", 0))
        return [holder.getsockname()[1] for holder in holders]
    finally:
        for holder in holders:
            holder.close()


def _await_dashboard(cluster: RayCluster, head: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_S
    while not _read(f"{cluster.dashboard}/api/version"):
        assert head.poll() is None, (cluster.home.parent / "start.log").read_text()
        assert time.monotonic() < deadline, (cluster.home.parent / "start.log").read_text()
        time.sleep(0.2)


def _read(url: str) -> str:
    """What is there; a refusal's text where a token is asked for; "" while nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:
        with error:
            return error.read().decode()
    except OSError:
        return ""


def _kill(head: subprocess.Popen[bytes]) -> None:
    ours = psutil.Process(head.pid).children(recursive=True) if head.poll() is None else []
    for process in ours:
        _kill_one(process)
    os.killpg(head.pid, signal.SIGKILL)
    head.wait(30)
    psutil.wait_procs(ours, 30)


def _kill_one(process: psutil.Process) -> None:
    try:
        process.kill()
    except psutil.NoSuchProcess:
        return
