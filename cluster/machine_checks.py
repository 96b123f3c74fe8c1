"""What the doctor looks at on the machine itself: Python, packages, cores, memory, GPUs, disk, limits."""

import os
import platform
import resource
import shutil
import subprocess
import tomllib
from importlib import metadata
from pathlib import Path

import psutil
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from cluster.finding import Finding, graded
from cluster.memory_plan import SMALLEST_STORE_BYTES
from shared.quantity import format_bytes

PACKAGES = ("torch", "ray", "transformers", "pyarrow", "redis", "numpy")
"""Those whose versions decide whether a job runs."""
PYPROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"
SHARED_MEMORY = Path("/dev/shm")
CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")
GIB = 2**30


def check_python() -> Finding:
    """The interpreter against `requires-python`."""
    wanted = SpecifierSet(_project()["requires-python"]) if PYPROJECT.exists() else SpecifierSet(">=3.11")
    found = platform.python_version()
    is_right = wanted.contains(found, prereleases=True)
    advice = "" if is_right else f"make the environment again with Python {wanted}"
    return Finding("Python", "good" if is_right else "bad", f"{found} on {platform.platform(terse=True)}", advice)


def check_package(name: str) -> Finding:
    """An installed package against the range that Headrace asks for."""
    wanted = package_range(name)
    try:
        found = metadata.version(name)
    except metadata.PackageNotFoundError:
        return Finding(name, "bad", "is not installed", f"pip install '{name}{wanted}'")
    is_right = wanted.contains(found, prereleases=True)
    return Finding(name, "good" if is_right else "bad", found, "" if is_right else f"pip install '{name}{wanted}'")


def package_range(name: str) -> SpecifierSet:
    """What Headrace asks of a package; everything where nothing is written."""
    lines = _project()["dependencies"] if PYPROJECT.exists() else metadata.requires("headrace") or []
    return next((one.specifier for one in map(Requirement, lines) if one.name == name), SpecifierSet())


def check_cores() -> Finding:
    """CPU cores that this process may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    advice = "producers, lanes and trainers take turns on one core: expect a slow job"
    return graded("CPU cores", cores, 2, 1, str(cores), advice)


def check_memory() -> Finding:
    """Free memory, and a container's limit where there is one."""
    memory, limit = psutil.virtual_memory(), container_limit()
    free = memory.available if limit is None else min(memory.available, limit)
    text = f"{format_bytes(memory.available)} free of {format_bytes(memory.total)}"
    text += "" if limit is None else f"; this container may use {format_bytes(limit)}"
    advice = "lower stream.buffer_rows and the number of trainers, or use a larger machine"
    return graded("memory", free, 4 * GIB, GIB, text, advice)


def container_limit() -> int | None:
    """Bytes that the control group allows; None where it sets no limit."""
    text = CGROUP_LIMIT.read_text().strip() if CGROUP_LIMIT.exists() else "max"
    return int(text) if text.isdigit() else None


def check_shared_memory() -> Finding:
    """/dev/shm, where Ray's object store holds the blocks."""
    if not SHARED_MEMORY.is_dir():
        return Finding("shared memory", "warn", "there is no /dev/shm", "Ray keeps its objects in slow files")
    free = psutil.disk_usage(str(SHARED_MEMORY)).free
    advice = "lower stream.log_bytes and stream.block_rows; in a container: docker run --shm-size=8g"
    return graded(
        "shared memory", free, 2 * GIB, SMALLEST_STORE_BYTES, f"{format_bytes(free)} free in /dev/shm", advice
    )


def check_gpus() -> Finding:
    """GPUs as torch sees them, and as the driver does."""
    import torch

    from trainers.gpu_kernels import HAS_COMPILER

    if torch.cuda.is_available():
        devices = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
        seen = ", ".join(f"{one.name} ({format_bytes(one.total_memory)})" for one in devices)
        if HAS_COMPILER:
            return Finding("GPUs", "good", seen)
        advice = "Triton makes the trainers' kernels with a C compiler: install gcc or clang, or name one in CC"
        return Finding("GPUs", "warn", f"{seen}, and no C compiler: trainers run more slowly there", advice)
    listed = driver_gpus()
    if not listed:
        return Finding("GPUs", "good", "none; models and trainers run on the CPU")
    seen = f"the driver lists {', '.join(listed)} and torch {torch.__version__} sees none"
    if torch.version.cuda is None:
        return Finding(
            "GPUs", "warn", seen, "this torch is built without CUDA: install the CUDA build from pytorch.org"
        )
    advice = f"this torch is built for CUDA {torch.version.cuda}: update the driver, or check CUDA_VISIBLE_DEVICES"
    return Finding("GPUs", "warn", seen, advice)


def driver_gpus() -> list[str]:
    """The names that nvidia-smi gives."""
    binary = shutil.which("nvidia-smi")
    if binary is None:
        return []
    command = [binary, "--query-gpu=name", "--format=csv,noheader"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    return [line.strip() for line in done.stdout.splitlines() if line.strip()] if done.returncode == 0 else []


def check_disk(runs: Path) -> Finding:
    """Room for checkpoints where runs are written."""
    there = next(place for place in (runs.absolute(), *runs.absolute().parents) if place.is_dir())
    free = shutil.disk_usage(there).free
    if not os.access(there, os.W_OK):
        return Finding("disk", "bad", f"{there} cannot be written", "set output to a folder that belongs to you")
    advice = "a checkpoint takes 12 bytes for each weight of each trainer: set output to a larger disk"
    return graded("disk", free, 10 * GIB, GIB, f"{format_bytes(free)} free for {runs}/", advice)


def check_open_files() -> Finding:
    """The limit of open files, which Ray's processes and their connections need."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = float("inf") if soft == resource.RLIM_INFINITY else soft
    advice = f"ulimit -n {65536 if hard == resource.RLIM_INFINITY else min(hard, 65536)}"
    return graded("open files", count, 4096, 256, "unlimited" if count == float("inf") else f"at most {soft}", advice)


def _project() -> dict:
    return tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]
