"""Every way to stop a job, one after another, and what follows: saved, resumed, the same weights at the end."""

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import ray

from cluster import checkpoints
from cluster.controller import STOP_FILE, Outcome
from cluster.job_place import job_to_resume
from cluster.spill_watch import SpillWatch
from cluster.stopping import StoppedAtOnce
from shared.config import Job
from shared.embedded_redis import EmbeddedRedis
from shared.errors import UserError
from shared.job_file import dump_job
from shared.job_state import JobState
from shared.registry import Registry
from shared.registry_connection import RegistryAddress
from shared.registry_place import open_registry
from shared.registry_secret import password_of
from tests.integration.scenario import Seen, kill, make_job, run, weights, when_block

pytestmark = [pytest.mark.long, pytest.mark.slow, pytest.mark.timeout(600)]
TRAINERS = [{"name": "topk-64", "architecture": "topk", "num_latents": 64, "k": 8, "batch_rows": 16}]
LONG = {"trainers": TRAINERS, "tokens": 80_000}
"""Eighty blocks: an early stop comes in the middle."""
HEARTBEAT_OVER_S = 40.0
"""A driver that is gone counts as alive for 15 s."""


@pytest.fixture(scope="module")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory, own_ray: None, gpt2_folder: str, corpus_folder: str
) -> dict[str, bytes]:
    job = make_job(tmp_path_factory.mktemp("undisturbed"), gpt2_folder, corpus_folder, **LONG)
    assert run(job).outcome is Outcome.FINISHED
    return weights(job)


def signals(*numbers: signal.Signals) -> Callable[[Registry], None]:
    """Sends them to this process, which is the driver."""

    def act(registry: Registry) -> None:
        for number in numbers:
            os.kill(os.getpid(), number)
            time.sleep(0.5)

    return act


def twice(registry: Registry) -> None:
    """Ctrl-C, and again before all is saved: the trainer stands still."""
    kill("trainer-topk-64", signal.SIGSTOP)(registry)
    signals(signal.SIGINT, signal.SIGINT)(registry)


def saved_at(job: Job) -> int:
    newest = checkpoints.newest(Path(job.output))
    assert newest is not None
    return newest.block


def test_stopped_in_every_way_it_ends_as_if_it_had_not_been(
    tmp_path: Path, gpt2_folder: str, corpus_folder: str, own_ray: None, undisturbed: dict[str, bytes]
) -> None:
    job = make_job(tmp_path, gpt2_folder, corpus_folder, **LONG)
    ways = [
        signals(signal.SIGINT),
        signals(signal.SIGTERM),
        signals(signal.SIGHUP),
        lambda registry: (tmp_path / "run" / STOP_FILE).touch(),
    ]
    blocks = [3]
    for number, way in enumerate(ways):
        seen = run(job, resume=number > 0, meanwhile=when_block(blocks[-1] + 2, way))
        assert seen.outcome is Outcome.STOPPED and seen.snapshot.job.state is JobState.STOPPED
        assert seen.imbalances == []
        blocks.append(saved_at(job))
    assert blocks == sorted(set(blocks)) and blocks[-1] < 80

    with pytest.raises(StoppedAtOnce):
        run(job, resume=True, meanwhile=when_block(blocks[-1] + 2, twice))
    job = job_to_resume(str(tmp_path / "run"), None)
    assert run(job, resume=True).outcome is Outcome.FINISHED
    assert weights(job) == undisturbed


def test_objects_that_ray_puts_on_disk_are_seen(own_ray: None) -> None:
    watch = SpillWatch()
    watch.look(100.0)
    assert watch.trouble(100.0) == ""
    kept = [ray.put(bytes(32 * 2**20)) for _ in range(12)]  # the store has 256 MiB
    deadline = time.monotonic() + 60
    while not watch.trouble(101.0):
        assert time.monotonic() < deadline, "Ray has spilled nothing"
        time.sleep(0.2)
        watch.look(101.0)
    assert "object store is too small and puts blocks on disk" in watch.trouble(101.0)
    del kept
    assert watch.trouble(1000.0) == ""


class Driver:
    """`headrace run` as a user has it: in a process of its own, with a home and a temporary folder of its own."""

    def __init__(self, folder: Path, job: Job) -> None:
        self.home, self.temporary = folder / "home", Path("/tmp") / f"hr-{os.getpid()}-{folder.name[-4:]}"
        for one in (self.home, self.temporary):
            one.mkdir(parents=True)
        (folder / "job.yaml").write_text(dump_job(job))
        (folder / "job.yaml").chmod(0o600)
        environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
        environment |= {"HOME": str(self.home), "TMPDIR": str(self.temporary), "RAY_TMPDIR": str(self.temporary)}
        self.said = folder / "said"
        with self.said.open("wb") as said:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "cluster", "run", str(folder / "job.yaml")],
                cwd=folder,
                env=environment,
                stdout=said,
                stderr=said,
                umask=0,
                start_new_session=True,
            )

    def tree(self) -> list[psutil.Process]:
        """The driver, and all that it has started and that has not left it: Ray's servers and actors."""
        return [psutil.Process(self.process.pid), *psutil.Process(self.process.pid).children(recursive=True)]

    def await_file(self, path: Path) -> None:
        deadline = time.monotonic() + 300
        while not path.exists():
            assert self.process.poll() is None and time.monotonic() < deadline, self.said.read_text()
            time.sleep(0.1)

    def await_block(self, registry: Registry, block: int) -> None:
        deadline = time.monotonic() + 300
        while True:
            assert self.process.poll() is None and time.monotonic() < deadline, self.said.read_text()
            if registry.job_state() is not None:
                trainers = registry.snapshot().trainers.values()
                if trainers and min(one.cursor for one in trainers) >= block:
                    return
            time.sleep(0.1)

    def end(self) -> None:
        """Whatever still runs, and its temporary folder."""
        if self.process.poll() is None:
            kill_all(self.tree())
        self.process.wait(30)
        shutil.rmtree(self.temporary, ignore_errors=True)


def kill_all(processes: list[psutil.Process]) -> None:
    for one in processes:
        with suppress(psutil.NoSuchProcess):
            one.kill()
    psutil.wait_procs(processes, 30)


def command_line(process: psutil.Process) -> str:
    with suppress(psutil.NoSuchProcess):
        return " ".join(process.cmdline())
    return ""


def listening(process: psutil.Process) -> set[str]:
    """The addresses of this machine at which it listens."""
    with suppress(psutil.NoSuchProcess):
        found = process.net_connections("inet")
        return {one.laddr.ip for one in found if one.status == psutil.CONN_LISTEN}
    return set()


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[Callable[[Job], Driver]]:
    started: list[Driver] = []

    def start(job: Job) -> Driver:
        started.append(Driver(tmp_path, job))
        return started[-1]

    yield start
    for one in started:
        one.end()


def test_after_everything_was_killed_and_the_temporary_folder_wiped_it_goes_on(
    tmp_path: Path,
    gpt2_folder: str,
    corpus_folder: str,
    own_ray: None,
    undisturbed: dict[str, bytes],
    driver: Callable[[Job], Driver],
) -> None:
    job = make_job(tmp_path / "runs", gpt2_folder, corpus_folder, **LONG)
    (tmp_path / "runs").mkdir()
    one = driver(job)
    one.await_file(tmp_path / "runs" / ".registry" / "socket")
    with EmbeddedRedis(tmp_path / "runs") as client:
        one.await_block(Registry(client, job.name), 12)
        one.await_file(tmp_path / "runs" / "run" / "checkpoints" / "10" / "manifest.json")
        server = psutil.Process(int(client.info("server")["process_id"]))  # type: ignore[index]
        kill_all([*one.tree(), server])
    shutil.rmtree(one.temporary)
    left = EmbeddedRedis(tmp_path / "runs").folder
    (left / "redis.pid").write_text("1")
    assert saved_at(job) > 0

    seen = resumed(job_to_resume(str(tmp_path / "runs" / "run"), None))
    assert seen.outcome is Outcome.FINISHED and seen.imbalances == []
    assert weights(job) == undisturbed


def resumed(job: Job) -> Seen:
    """As a user does who tries again while the driver before still counts as alive."""
    deadline = time.monotonic() + HEARTBEAT_OVER_S
    while True:
        try:
            return run(job, resume=True)
        except UserError as error:
            assert "already running" in str(error) and time.monotonic() < deadline
            time.sleep(1.0)


def test_nothing_of_a_job_listens_to_strangers_or_tells_them_the_password(
    tmp_path: Path,
    gpt2_folder: str,
    corpus_folder: str,
    own_ray: None,
    undisturbed: dict[str, bytes],
    secured_address: RegistryAddress,
    driver: Callable[[Job], Driver],
    capsys: pytest.CaptureFixture[str],
) -> None:
    password = password_of(secured_address.url)
    assert password
    changes = {**LONG, "name": f"secured-{os.getpid()}", "registry": secured_address.url}
    job = make_job(tmp_path, gpt2_folder, corpus_folder, **changes)
    one = driver(job)
    with open_registry(job.registry, tmp_path) as client:
        registry = Registry(client, job.name)
        one.await_block(registry, 3)
        processes = one.tree()
        shown = [command_line(process) for process in processes]
        heard = set().union(*(listening(process) for process in processes))
        one.process.send_signal(signal.SIGTERM)
        assert one.process.wait(120) == 130, one.said.read_text()
        kept = [registry.job_yaml(), repr(registry.events(count=1000)), repr(registry.metrics(count=1000))]
    assert heard and heard <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}, heard
    assert len(processes) > 5 and password not in "\n".join(shown)
    assert password not in "\n".join(map(str, kept))

    run_folder = tmp_path / "run"
    for words in (["status", str(run_folder)], ["status", str(run_folder), "--json"], ["ledger", str(run_folder)]):
        done = subprocess.run([sys.executable, "-m", "cluster", *words], capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 0 and password not in done.stdout + done.stderr, done.stderr
    secret = run_folder / "registry.secret"
    wrote = [path for folder in (run_folder, one.home, one.temporary, one.said) for path in everything_in(folder)]
    assert [path for path in wrote if password.encode() in path.read_bytes()] == [secret]
    token = one.home / ".headrace" / "ray_token"
    assert {stat.S_IMODE(path.stat().st_mode) for path in (secret, token)} == {0o600}
    assert not [path for path in wrote if path != token and token.read_bytes() in path.read_bytes()]
    assert json.loads((run_folder / "ledger.json").read_text())["imbalances"] == []

    assert run(job_to_resume(str(run_folder), None), resume=True).outcome is Outcome.FINISHED
    assert weights(job) == undisturbed


def everything_in(folder: Path) -> list[Path]:
    """Every plain file."""
    found = [folder] if folder.is_file() else folder.rglob("*")
    return [path for path in found if path.is_file() and not path.is_symlink()]
