"""Whatever a user writes wrongly ends in one sentence and exit code 2, and leaves no trace.

Most cases call the command line in this process, since a fresh one takes seconds to import torch; those that are about
the process itself start one. Only the last ones need Ray.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM

from cluster import run_job
from cluster.controller import Outcome
from cluster.exit_code import exit_code
from shared.embedded_redis import EmbeddedRedis
from shared.errors import JobFailed
from shared.job_file import dump_job, load_job
from shared.job_state import JobState
from shared.registry import Registry
from shared.registry_facts import StreamPoint
from shared.registry_server import is_server_alive
from tests.integration.scenario import run, weights
from tests.tiny_models import text, tiny_gpt2

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = ("run", "resume", "submit", "jobs", "status", "watch", "stop", "report", "doctor")
Refused = Callable[..., str]
JOB = {
    "name": "one",
    "model": {"name": "model", "hookpoints": ["transformer.h.1"]},
    "corpus": {"source": "corpus.txt", "context_tokens": 32, "unit_contexts": 16},
    "stream": {"buffer_rows": 512, "block_rows": 128, "log_bytes": "1MiB"},
    "trainers": [{"architecture": "topk", "num_latents": 32, "k": 4, "batch_rows": 64}],
    "tokens": 2000,
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model and a corpus that are good, and what goes by their names and is not."""
    folder = tmp_path_factory.mktemp("files")
    tiny_gpt2(folder / "model")
    for name in ("no-tokenizer", "no-weights", "cut-weights", "no-json", "own-code"):
        shutil.copytree(folder / "model", folder / name)
    for path in (folder / "no-tokenizer").glob("token*"):
        path.unlink()
    (folder / "no-weights" / "model.safetensors").unlink()
    (folder / "cut-weights" / "model.safetensors").write_bytes(b"half")
    (folder / "no-json" / "config.json").write_text("{")
    (folder / "own-code" / "config.json").write_text('{"model_type": "own", "auto_map": {"AutoConfig": "code.Config"}}')
    (folder / "own-code" / "code.py").write_text("raise AssertionError('the code of a model ran, unasked')")
    (folder / "corpus.txt").write_text(text(3000))
    (folder / "empty.txt").write_text("")
    (folder / "binary.txt").write_bytes(bytes(range(128, 256)))
    for ending in ("parquet", "arrow", "jsonl"):
        (folder / f"liar.{ending}").write_text("not what it says\nit is\n")
    (folder / "empty").mkdir()
    return folder


@pytest.fixture
def here(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: the job file, and links to the files."""
    for path in files.iterdir():
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(JOB))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def refused(here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Refused:
    """Does what the words say; it must end in a sentence with exit code 2, and leave everything as it was."""

    def no_ray(*args: object) -> None:
        raise AssertionError("Ray was started")

    monkeypatch.setattr(run_job, "ray_session", no_ray)

    def refuse(*words: str) -> str:
        before = _tree(here)
        code = exit_code(list(words))
        said = capsys.readouterr().err
        assert code == 2, said
        assert said.startswith("headrace: ") and said.count("\n") == 1 and "Traceback" not in said, said
        assert _tree(here) == before
        return said

    return refuse


def _tree(folder: Path) -> dict[str, int]:
    """Every file and folder but the registry's own, and when it was changed."""
    found = [path for path in folder.rglob("*") if ".registry" not in path.parts]
    return {str(path): path.lstat().st_mtime_ns for path in found if not path.is_dir()} | {
        str(path): 0 for path in found if path.is_dir()
    }


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("tokns=5", "unknown key tokns; did you mean tokens?"),
        ("tokens=abc", "tokens must be a whole number, got 'abc'"),
        ("trainers.0.k=33", "trainers[0].k must be between 1 and num_latents (32), got 33"),
        ("trainers.0.lr", "an override must look like key=value, got 'trainers.0.lr'"),
        ("model.hookpoints=[transformer.h.9]", "no module 'transformer.h.9' in model; nearest: transformer.h."),
        ("model.name=./nowhere", "model.name: there is no folder ./nowhere"),
        ("model.name=empty", "model.name: empty has no config.json"),
        ("model.name=no-json", "model.name: no-json is not a model"),
        ("model.name=own-code", "model.name: own-code needs code that comes with it"),
        ("model.name=no-tokenizer", "model.name: there is no tokenizer in no-tokenizer"),
        ("model.name=no-weights", "model.name: no-weights holds no weights"),
        ("model.name=cut-weights", "cut-weights/model.safetensors is not a whole file of weights"),
        ("model.device=cuda", "model.device is cuda and producers.gpus is 0"),
        ("corpus.source=missing.txt", "corpus.source: there is no file or folder missing.txt"),
        ("corpus.source=empty.txt", "corpus.source: there is no text in empty.txt"),
        ("corpus.source=empty", "corpus.source: the folder empty holds no file"),
        ("corpus.source=x-*.txt", "corpus.source: no file matches x-*.txt"),
        ("corpus.source=liar.parquet", "liar.parquet is not a Parquet file"),
        ("corpus.source=liar.arrow", "liar.arrow is not an Arrow file"),
        ("corpus.source=liar.jsonl", "liar.jsonl: the line at byte 0 is not JSON"),
        ("corpus.source=binary.txt", "binary.txt is not UTF-8 text at byte 0"),
        ("corpus.context_tokens=65", "corpus.context_tokens must be at most 64, the longest context of model"),
        ("output=corpus.txt", "output corpus.txt cannot be a folder"),
        ("output=corpus.txt/run", "output corpus.txt/run cannot be a folder"),
        ("output=/proc/run", "output: nothing can be written in /proc: No such file or directory"),
        ("output=.", "output . holds the current folder"),
        ("output=model", "output model holds files that are not a run's"),
        ("registry=redis://127.0.0.1:1", "the registry at redis://127.0.0.1:1 does not answer"),
        ("registry=unix:///nowhere.sock", "the registry at unix:///nowhere.sock does not answer"),
        ("stream.buffer_rows=1_000_000_000_000", "GiB free: lower stream.buffer_rows"),
        ("stream.log_bytes=900TiB", "lower stream.log_bytes or stream.block_rows"),
        ("trainers.0.num_latents=1_000_000_000_000", "lower trainers' num_latents"),
        ("producers.gpus=1000", "the job asks for 1000 GPUs and there are"),
    ],
)
def test_job_that_cannot_be_done_is_refused_before_anything_starts(
    refused: Refused, here: Path, override: str, words: str
) -> None:
    assert words in refused("run", "job.yaml", override)
    assert not (here / "runs").exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot read the job file bad.yaml: No such file or directory"),
        ("", "bad.yaml is empty; it must hold keys"),
        ("- one\n- two\n", "bad.yaml is not a job file: it must hold keys"),
        ("name: one\nmodel: {", "bad.yaml, line 2, cannot be read as YAML"),
        ("name: one\nname: two\n", "bad.yaml, line 2, cannot be read as YAML: the key 'name' stands twice"),
        (b"\xff\xfe\x00", "cannot read the job file bad.yaml: it is not UTF-8 text"),
    ],
)
def test_file_that_is_no_job_file_is_named(
    refused: Refused, here: Path, content: str | bytes | None, words: str
) -> None:
    if content is not None:
        (here / "bad.yaml").write_bytes(content if isinstance(content, bytes) else content.encode())
    assert words in refused("run", "bad.yaml")


def test_folder_in_place_of_a_job_file_is_named(refused: Refused) -> None:
    assert "empty is a folder, not a job file" in refused("run", "empty")


def test_output_that_holds_a_run_is_not_touched(refused: Refused, here: Path) -> None:
    run = here / "runs" / "one"
    (run / "checkpoints").mkdir(parents=True)
    (run / "job.yaml").write_text(dump_job(load_job(here / "job.yaml")))
    assert "job one has begun before in runs/one; go on with: headrace resume runs/one" in refused("run", "job.yaml")
    assert "a run of one with other settings" in refused("run", "job.yaml", "seed=7")
    assert "output runs/one holds another job (one)" in refused("run", "job.yaml", "name=two", "output=runs/one")


@dataclass
class Known:
    """A job in a registry, and the token of its driver."""

    registry: Registry
    token: int


@pytest.fixture
def known(here: Path) -> Iterator[Known]:
    """The registry of ./runs, which has a job `one` whose driver is alive, and its run folder."""
    job = load_job(here / "job.yaml")
    (here / "runs" / "one").mkdir(parents=True)
    (here / "runs" / "one" / "job.yaml").write_text(dump_job(job))
    embedded = EmbeddedRedis(here / "runs")
    with embedded.connect() as client:
        registry = Registry(client, "one")
        token = registry.claim_job(dump_job(job), str(here / "runs" / "one"), resume=False)
        registry.begin_stream(token, StreamPoint.fresh(4, 2, 128, 1, ["topk-32"]))
        registry.set_state(token, JobState.RUNNING)
        yield Known(registry, token)
    embedded.stop()


def test_name_that_runs_already_is_refused(refused: Refused, known: Known) -> None:
    assert "a job named one is already running" in refused("run", "job.yaml", "output=runs/other")
    assert "a job named one is already running" in refused("resume", "one")
    assert "a job named one is already running" in refused("resume", "runs/one")


@pytest.mark.parametrize("command", ["status", "watch", "stop", "resume", "report"])
def test_unknown_job_is_refused_with_those_that_there_are(refused: Refused, known: Known, command: str) -> None:
    assert "two is no job's name; there are one" in refused(command, "two")
    assert "empty is neither a run folder nor the name of a job" in refused(command, "empty")


def test_finished_job_is_neither_resumed_nor_stopped(refused: Refused, known: Known) -> None:
    known.registry.set_state(known.token, JobState.FINISHED)
    assert "job one is finished; there is nothing to resume" in refused("resume", "runs/one")
    assert "job one does not run: it is finished" in refused("stop", "one")


@pytest.mark.parametrize("command", ["status", "watch", "stop", "resume", "report"])
def test_unknown_job_is_refused_where_there_is_no_registry(refused: Refused, here: Path, command: str) -> None:
    assert "there is no job named two: runs/ has no registry" in refused(command, "two")
    assert "empty is not a run folder: it has no job.yaml" in refused(command, "empty")
    assert not (here / "runs").exists()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["frob"], "no such command 'frob'; see: headrace --help"),
        (["run"], "missing argument 'JOB.yaml'; see: headrace run --help"),
        (["run", "--frob", "job.yaml"], "no such option: --frob; see: headrace run --help"),
        (["plan", "--compute=1e18", "--d-in=64", "--architecture=topkk"], "--architecture must be one of topk, "),
        (["status", "a", "b"], "see: headrace status --help"),
        (["jobs", "--registry"], "option '--registry' requires an argument; see: headrace --help"),
        (["jobs", "--registry", "foo://x"], "registry must be a redis://, rediss:// or unix:// URL, got 'foo://x'"),
        (["jobs", "--registry", "redis://127.0.0.1:1"], "the registry at redis://127.0.0.1:1 does not answer"),
    ],
)
def test_wrong_usage_is_a_sentence(refused: Refused, words: list[str], sentence: str) -> None:
    assert sentence in refused(*words)


@pytest.mark.parametrize("words", [[], ["features"], ["features", "-h"]])
def test_a_command_of_commands_shows_its_help(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(words) == 0
    said = capsys.readouterr()
    assert said.out.startswith("Usage: headrace") and "Commands:" in said.out and not said.err


def test_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(["--version"]) == 0
    assert capsys.readouterr().out == f"headrace {version('headrace')}\n"


def test_jobs_of_an_empty_folder_are_none(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(["jobs"]) == 0 and "no jobs here" in capsys.readouterr().out
    assert exit_code(["jobs", "--json"]) == 0 and capsys.readouterr().out == "[]\n"
    assert not (here / "runs").exists()


def test_what_nobody_foresaw_is_a_sentence_and_a_file(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(job: object) -> None:
        raise ZeroDivisionError("by\nnought")

    monkeypatch.setattr(run_job, "prepare", broken)
    monkeypatch.setattr("tempfile.tempdir", str(here))
    assert exit_code(["run", "job.yaml"]) == 1
    said = capsys.readouterr().err
    (kept,) = here.glob("headrace-*.log")
    assert said == f"headrace: ZeroDivisionError: by (the traceback is in {kept})\n"
    assert "in broken" in kept.read_text()


def test_what_nobody_foresaw_while_a_job_runs_is_in_its_log(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: object) -> None:
        raise ZeroDivisionError("by nought\nand more")

    monkeypatch.setattr(run_job, "ray_session", broken)
    assert exit_code(["run", "job.yaml"]) == 1
    log = here / "runs" / "one" / "driver.log"
    assert capsys.readouterr().err == f"headrace: ZeroDivisionError: by nought (the traceback is in {log})\n"
    assert "in broken" in log.read_text()
    assert not is_server_alive(here / "runs" / ".registry")
    assert exit_code(["status", "one"]) == 0
    shown = capsys.readouterr().out
    assert "failed" in shown and "ZeroDivisionError: by nought" in shown and "and more" not in shown


# What follows is about the process itself.


def _headrace(*words: str, folder: Path, timeout_s: float = 120.0) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "cluster", *words]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=timeout_s)


def test_refusals_of_a_process_have_exit_code_2(here: Path) -> None:
    for words in (["run", "job.yaml", "tokens=0"], ["frob"], ["status", "nobody"]):
        done = _headrace(*words, folder=here)
        assert done.returncode == 2 and done.stdout == "" and done.stderr.count("\n") == 1, done.stderr
    assert not (here / "runs").exists()


def test_help_and_refusals_import_nothing_heavy(here: Path) -> None:
    words = [[command, "--help"] for command in COMMANDS]
    words += [[], ["--help"], ["run", "job.yaml", "tokens=0"], ["jobs"], ["status", "nobody"]]
    code = (
        "import sys; from cluster.exit_code import exit_code\n"
        f"print([exit_code(one) for one in {words!r}], file=sys.stderr)\n"
        "assert not {'torch', 'ray', 'transformers', 'datasets'} & set(sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], cwd=here, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1] == str([0] * 11 + [2, 0, 2])


def test_help_comes_at_once(here: Path) -> None:
    times = []
    for _ in range(3):
        begun = time.perf_counter()
        assert _headrace("run", "--help", folder=here).returncode == 0
        times.append(time.perf_counter() - begun)
    assert min(times) < 1.0, times


@pytest.mark.parametrize("words", ["jobs", "jobs --json", "--help", "status nobody"])
def test_reader_that_has_gone_is_no_error(here: Path, words: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "cluster", *words.split()]
    done = subprocess.run(command, cwd=here, env=environment, stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    assert "Traceback" not in done.stderr and "BrokenPipe" not in done.stderr
    assert done.returncode == (2 if "nobody" in words else 0)


# What follows needs Ray.


def test_activations_that_are_not_finite_stop_the_job_with_the_unit_named(
    here: Path, own_ray: None, capsys: pytest.CaptureFixture[str]
) -> None:
    model = AutoModelForCausalLM.from_pretrained(here / "model")
    with torch.no_grad():
        model.transformer.wte.weight[5:60] = float("inf")
    shutil.copytree(here / "model", here / "infinite")
    model.save_pretrained(here / "infinite")
    capsys.readouterr()
    assert exit_code(["run", "job.yaml", "model.name=infinite"]) == 1
    said = capsys.readouterr()
    assert said.err.startswith("headrace: unit ") and "at transformer.h.1 are not finite" in said.err
    assert said.err.count("\n") == 1 and "Traceback" not in said.out
    assert not is_server_alive(here / "runs" / ".registry")
    assert exit_code(["status", "one"]) == 0
    assert "failed" in capsys.readouterr().out


def test_stream_shorter_than_a_block_and_a_batch_is_trained_on(here: Path, own_ray: None) -> None:
    job = load_job(here / "job.yaml", ("tokens=100", "trainers.0.batch_rows=4096"))
    assert run(job).outcome is Outcome.FINISHED
    assert list(weights(job)) == ["topk-32"]


def test_corpus_without_a_row_fails_the_job(here: Path, own_ray: None) -> None:
    (here / "nulls.jsonl").write_text('{"text": null}\n')
    job = load_job(here / "job.yaml", ("corpus.source=nulls.jsonl",))
    with pytest.raises(JobFailed, match="not one row came out of the corpus"):
        run(job)
