import io
import json
import resource
import shutil
import socket
import stat
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from packaging.specifiers import SpecifierSet
from rich.console import Console

from cluster import doctor, machine_checks, service_checks
from cluster.finding import Finding, graded, survived
from shared.errors import RegistryError
from trainers import gpu_kernels

Usage = namedtuple("Usage", "total used free")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder of the test's own, without tokens."""
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_examination_covers_everything_and_is_json() -> None:
    findings = doctor.examine()
    assert [one["what"] for one in findings] == list(doctor._checks())
    assert all(set(one) == {"what", "verdict", "finding", "advice"} and one["finding"] for one in findings)
    assert all(bool(one["advice"]) == (one["verdict"] != "good") for one in findings)
    json.dumps(findings)


def test_findings_are_printed_with_advice_below() -> None:
    findings = [Finding("disk [x]", "good", "9 GiB")._asdict(), Finding("GPUs", "warn", "[none]", "buy some")._asdict()]
    screen = Console(file=io.StringIO(), width=80)
    doctor.print_findings(findings, screen)
    text = screen.file.getvalue()  # type: ignore[attr-defined]
    assert [line.split() for line in text.splitlines()] == [
        ["good", "disk", "[x]", "9", "GiB"],
        ["warn", "GPUs", "[none]"],
        ["→", "buy", "some"],
        ["jobs", "can", "run;", "1", "of", "2", "things", "deserve", "a", "look"],
    ]


def test_check_that_fails_is_a_finding() -> None:
    def broken() -> Finding:
        raise OSError("libcuda.so is missing\nmore")

    assert survived("GPUs", broken)[:3] == ("GPUs", "bad", "OSError: libcuda.so is missing")


@pytest.mark.parametrize(("value", "verdict"), [(4, "good"), (3, "warn"), (2, "warn"), (1, "bad")])
def test_grades_have_two_bounds(value: float, verdict: str) -> None:
    assert graded("x", value, enough=4, least=2, finding="", advice="do").verdict == verdict


def test_package_outside_its_range_is_bad(monkeypatch: pytest.MonkeyPatch) -> None:
    assert machine_checks.package_range("ray") != SpecifierSet()
    monkeypatch.setattr(machine_checks.metadata, "version", lambda name: "0.1")
    found = machine_checks.check_package("ray")
    assert (found.verdict, found.finding) == ("bad", "0.1") and found.advice.startswith("pip install 'ray>=")


def test_package_that_is_not_there_is_bad() -> None:
    assert machine_checks.check_package("no-such-package")[1:3] == ("bad", "is not installed")


def test_python_outside_its_range_is_bad(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_checks.platform, "python_version", lambda: "3.9.1")
    assert machine_checks.check_python().verdict == "bad"


def test_small_shared_memory_is_told_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_checks.psutil, "disk_usage", lambda path: Usage(0, 0, 64 * 2**20))
    found = machine_checks.check_shared_memory()
    assert found.verdict == "bad" and "64.0 MiB free" in found.finding and "--shm-size" in found.advice


def test_limit_of_a_container_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("536870912\n")
    monkeypatch.setattr(machine_checks, "CGROUP_LIMIT", tmp_path / "memory.max")
    found = machine_checks.check_memory()
    assert found.verdict == "bad" and "this container may use 512.0 MiB" in found.finding
    (tmp_path / "memory.max").write_text("max\n")
    assert machine_checks.container_limit() is None


def test_gpu_that_torch_does_not_see_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(machine_checks, "driver_gpus", lambda: ["NVIDIA H200"])
    monkeypatch.setattr(torch.version, "cuda", None)
    found = machine_checks.check_gpus()
    assert found.verdict == "warn" and "NVIDIA H200" in found.finding and "without CUDA" in found.advice
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    assert "update the driver" in machine_checks.check_gpus().advice
    monkeypatch.setattr(machine_checks, "driver_gpus", list)
    assert machine_checks.check_gpus().verdict == "good"


@pytest.mark.parametrize(("has_compiler", "verdict"), [(True, "good"), (False, "warn")])
def test_gpu_wants_a_compiler(has_compiler: bool, verdict: str, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = namedtuple("Gpu", "name total_memory")("NVIDIA H100", 80 * 2**30)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: gpu)
    monkeypatch.setattr(gpu_kernels, "HAS_COMPILER", has_compiler)
    found = machine_checks.check_gpus()
    assert found.verdict == verdict and "NVIDIA H100 (80.0 GiB)" in found.finding
    assert ("install gcc" in found.advice) is not has_compiler


def test_few_open_files_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_checks.resource, "getrlimit", lambda which: (1024, 524288))
    assert machine_checks.check_open_files()[1:] == ("warn", "at most 1024", "ulimit -n 65536")
    unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    monkeypatch.setattr(machine_checks.resource, "getrlimit", lambda which: unlimited)
    assert machine_checks.check_open_files()[1:3] == ("good", "unlimited")


def test_disk_is_that_of_the_nearest_folder_there_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(0, 0, 2**30 if path == tmp_path else 0))
    found = machine_checks.check_disk(tmp_path / "runs" / "deep")
    assert found.verdict == "warn" and "1.0 GiB free" in found.finding
    assert list(tmp_path.iterdir()) == []


def test_redis_starts_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    found = service_checks.check_redis()
    assert found.verdict == "good" and "starts" in found.finding
    assert list(tmp_path.iterdir()) == []


def test_lack_of_redis_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere() -> None:
        raise RegistryError("there is no redis-server 6.2 or newer")

    monkeypatch.setattr(service_checks, "find_server", nowhere)
    found = survived("redis-server", service_checks.check_redis)
    assert found.verdict == "bad" and "there is no redis-server 6.2 or newer" in found.finding


def test_rays_own_token_is_a_trap_unless_the_mode_is_set(home: Path) -> None:
    assert service_checks.check_ray_token({}).verdict == "good"
    (home / ".ray").mkdir()
    (home / ".ray" / "auth_token").write_text("secret")
    found = service_checks.check_ray_token({})
    assert found.verdict == "warn" and "RAY_AUTH_MODE=token" in found.advice and "secret" not in str(found)
    assert service_checks.check_ray_token({"RAY_AUTH_MODE": "token"}).verdict == "good"


def test_token_that_is_not_there_is_bad(tmp_path: Path) -> None:
    assert service_checks.check_ray_token({"RAY_AUTH_MODE": "token"}).verdict == "bad"
    named = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(tmp_path / "token")}
    assert service_checks.check_ray_token(named).verdict == "bad"
    (tmp_path / "token").write_text("secret")
    assert service_checks.check_ray_token(named).verdict == "good"
    found = service_checks.check_ray_token({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "secret"})
    assert found.verdict == "good" and "secret" not in str(found)


def test_own_token_that_others_can_read_is_told(home: Path) -> None:
    own = home / ".headrace" / "ray_token"
    own.parent.mkdir()
    own.write_text("secret")
    own.chmod(stat.S_IRUSR | stat.S_IROTH)
    assert service_checks.check_ray_token({}).advice == "chmod 600 ~/.headrace/ray_token"


@pytest.fixture
def port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize("form", ["127.0.0.1:{}", "ray://127.0.0.1:{}", "http://127.0.0.1:{}/"])
def test_cluster_that_answers_is_good(port: int, form: str) -> None:
    assert service_checks.check_ray_address({"RAY_ADDRESS": form.format(port)}).verdict == "good"


def test_cluster_that_does_not_answer_is_bad() -> None:
    for address in ("127.0.0.1:1", "127.0.0.1:99999"):
        assert service_checks.check_ray_address({"RAY_ADDRESS": address}).verdict == "bad"
    assert service_checks.check_ray_address({"RAY_ADDRESS": "auto"}).verdict == "warn"
    for environment in ({}, {"RAY_ADDRESS": ""}, {"RAY_ADDRESS": "local"}):
        assert service_checks.check_ray_address(environment).verdict == "good"


def test_offline_hub_is_told_with_what_the_cache_holds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "models--a--b").mkdir()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    found = service_checks.check_hub()
    assert (found.verdict, found.finding) == ("warn", f"1 models in {tmp_path}; offline")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    assert service_checks.check_hub().verdict == "good"


def test_demo_model_may_be_a_pointer_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert service_checks.check_demo_model().verdict == "good"
    monkeypatch.setattr(service_checks, "DEMO_MODEL", tmp_path)
    assert "there is none" in service_checks.check_demo_model().finding
    (tmp_path / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\n")
    assert "git lfs pull" in service_checks.check_demo_model().advice
