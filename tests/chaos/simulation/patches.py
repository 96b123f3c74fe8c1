"""Puts a world's threads, clock, Ray, model and SAE where the code of `cluster` and `shared` looks for them."""

import types
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from tests.chaos.simulation import small_job, threads
from tests.chaos.simulation.ray_of_actors import RayOfActors
from tests.chaos.simulation.world import World

THREADS = ("shared.lane", "shared.lease_keeper", "cluster.block_reader", "cluster.lane_actor", "cluster.watcher")
CLOCKS = (
    "shared.lane",
    "cluster.controller",
    "cluster.crew",
    "cluster.lane_client",
    "cluster.patience",
    "cluster.rate",
    "cluster.stopping",
)
ACTORS = ("cluster.producer_actor", "cluster.trainer_actor")
RAYS = ("controller", "crew", "lane_actor", "lane_client", "block_reader", *ACTORS)


class Silent:
    """What stands for a gauge."""

    def __init__(self, *args: Any) -> None: ...

    def set(self, *args: Any) -> None: ...


def _fsync(descriptor: int) -> None:
    World.current.point()


def _patches(ray: RayOfActors) -> dict[str, Any]:
    no_torch = types.SimpleNamespace(set_num_threads=lambda count: None, cuda=types.SimpleNamespace())
    os = types.SimpleNamespace(**{**vars(import_module("os")), "fsync": _fsync})
    found: dict[str, Any] = {
        "cluster.block_reader.queue": threads,
        "producers.prefetch.ThreadPoolExecutor": threads.ThreadPoolExecutor,
        "shared.files.os": os,
        "cluster.gauges.Gauge": Silent,
        "cluster.producer_actor.POLL_S": 0.5,
        "cluster.producer_actor.Corpus": small_job.SmallCorpus,
        "cluster.producer_actor.Producer": small_job.SmallProducer,
        "cluster.trainer_actor.Trainer": small_job.SmallTrainer,
        "cluster.trainer_actor.write_card": lambda folder: None,
    }
    for module in (*THREADS, *ACTORS):
        found[f"{module}.threading"] = threads
    for module in (*CLOCKS, *ACTORS):
        found[f"{module}.time"] = threads
    for module in ACTORS:
        found[f"{module}.torch"] = no_torch
        found[f"{module}.prepare_process"] = lambda seat: None
    found["cluster.lane_actor.prepare_process"] = lambda seat: None
    for name in RAYS:
        found[f"{name if '.' in name else f'cluster.{name}'}.ray"] = ray
    return found


@contextmanager
def patched(ray: RayOfActors) -> Iterator[None]:
    """All of them, for as long as the block runs."""
    before: list[tuple[Any, str, Any]] = []
    try:
        for path, value in _patches(ray).items():
            name, _, attribute = path.rpartition(".")
            module = import_module(name)
            before.append((module, attribute, getattr(module, attribute)))
            setattr(module, attribute, value)
        yield
    finally:
        for module, attribute, value in reversed(before):
            setattr(module, attribute, value)
