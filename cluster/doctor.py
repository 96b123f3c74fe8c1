"""`headrace doctor`: what this machine has, and what is wrong with it. It changes nothing, and starts only Redis."""

import os
from collections.abc import Callable
from functools import partial
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from cluster import machine_checks, service_checks
from cluster.finding import Finding, survived
from cluster.job_place import RUNS

STYLES = {"good": "green", "warn": "yellow", "bad": "red"}


def examine() -> list[dict[str, Any]]:
    """All findings, each `{"what", "verdict": "good" | "warn" | "bad", "finding", "advice"}`."""
    return [survived(what, check)._asdict() for what, check in _checks().items()]


def print_findings(findings: list[dict[str, Any]], console: Console) -> None:
    """A line for each, advice below what needs it, and the sum of it all."""
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for one in findings:
        advice = f"\n→ {one['advice']}" if one["advice"] else ""
        verdict = Text(one["verdict"], STYLES[one["verdict"]])
        table.add_row(verdict, Text(one["what"]), Text(f"{one['finding']}{advice}"))
    console.print(table)
    console.print(_sum(findings), highlight=False)


def _checks() -> dict[str, Callable[[], Finding]]:
    return {
        "Python": machine_checks.check_python,
        **{name: partial(machine_checks.check_package, name) for name in machine_checks.PACKAGES},
        "CPU cores": machine_checks.check_cores,
        "memory": machine_checks.check_memory,
        "shared memory": machine_checks.check_shared_memory,
        "GPUs": machine_checks.check_gpus,
        "open files": machine_checks.check_open_files,
        "disk": partial(machine_checks.check_disk, RUNS),
        "redis-server": service_checks.check_redis,
        "Ray token": partial(service_checks.check_ray_token, os.environ),
        "Ray cluster": partial(service_checks.check_ray_address, os.environ),
        "Hugging Face": service_checks.check_hub,
        "demo model": service_checks.check_demo_model,
    }


def _sum(findings: list[dict[str, Any]]) -> str:
    bad, warn = (sum(one["verdict"] == verdict for one in findings) for verdict in ("bad", "warn"))
    if bad:
        return f"{bad} of {len(findings)} things must be mended before a job can run"
    return "all is well" if not warn else f"jobs can run; {warn} of {len(findings)} things deserve a look"
