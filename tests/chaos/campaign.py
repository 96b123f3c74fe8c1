"""Many real faults, some in each job, one job after another."""

import random
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import ray

from shared.config import Job
from tests.chaos.fault import Fault, Trial
from tests.chaos.trial import Undisturbed, try_faults, undisturbed
from tests.integration.scenario import TRAINERS, make_job
from tests.tiny_models import text, tiny_gpt2

WEIGHTS = {
    ("producer", "kill"): 6,
    ("lane", "kill"): 6,
    ("trainer", "kill"): 6,
    ("evaluator", "kill"): 2,
    ("redis", "kill"): 4,
    ("driver", "kill"): 3,
    ("producer", "hang"): 2,
    ("lane", "hang"): 2,
    ("trainer", "hang"): 2,
    ("evaluator", "hang"): 1,
    ("redis", "hang"): 2,
    ("driver", "hang"): 1,
    ("producer", "slow"): 1,
    ("lane", "slow"): 1,
    ("trainer", "slow"): 1,
    ("evaluator", "slow"): 1,
    ("redis", "slow"): 1,
    ("driver", "slow"): 1,
}
"""How often each is drawn; a hang takes half a minute to be seen."""
HANG_S = {"redis": 12.0}
"""Of others 60 s: they are replaced before."""
SLOW_S = 10.0
EVALUATION = {"every_blocks": 10, "holdout": 0.1, "contexts": 8, "contexts_per_forward": 4}
SHAPES = (
    {"producers__count": 2},
    {"producers__count": 2, "stream__lanes": 2, "stream__spool_bytes": "64MiB"},
)
"""Of the jobs: what the order of rows depends on is their number of lanes."""
NUM_BLOCKS = 450
LAST_BLOCK = 200
"""Faults are due by then, each when the one before it is over: the rest is for those that take long."""
STARTS = 10
FAULTS_A_JOB = 12
"""A job of several minutes takes longest to start."""


@dataclass
class Ground:
    """Where trials are made: a model, a corpus, and how each shape of job ends when nothing happens."""

    folder: Path
    model: str
    corpus: str
    ends: dict[int, Undisturbed]

    def job(self, shape: int, name: str) -> Job:
        changes = {
            "name": name,
            "tokens": 1000 * NUM_BLOCKS,
            "trainers": [TRAINERS[1], TRAINERS[2]],
            "evaluation": EVALUATION,
            **SHAPES[shape],
        }
        return make_job(self.folder / name, self.model, self.corpus, **changes)

    def end(self, shape: int) -> Undisturbed:
        if shape not in self.ends:
            self.ends[shape] = undisturbed(self.job(shape, f"undisturbed-{shape}"))
        return self.ends[shape]


def prepare_ground(folder: Path) -> Ground:
    """In `folder`, which may be anywhere."""
    corpus = folder / "corpus"
    corpus.mkdir(parents=True)
    for index in range(40):
        (corpus / f"{index:02}.txt").write_text(text(6000, seed=index))
    return Ground(folder, str(tiny_gpt2(folder / "gpt2")), str(corpus), {})


def start_ray() -> None:
    """One for all trials but those whose driver dies, which have their own. On a busy machine Ray gives up too soon."""
    for left in reversed(range(STARTS)):
        try:
            return _start_ray()
        except Exception:
            ray.shutdown()
            if not left:
                raise


def _start_ray() -> None:
    ray.init(
        address="local",
        namespace="headrace-chaos",
        num_cpus=16,
        object_store_memory=256 * 2**20,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
    )


def draw_faults(count: int, seed: int) -> list[list[Fault]]:
    """What is tried in each job, in an order that the seed fixes."""
    draw, kinds = random.Random(seed), list(WEIGHTS)
    drawn = [draw.choices(kinds, list(WEIGHTS.values()))[0] for _ in range(count)]
    jobs = _dealt([one for one in drawn if one[0] == "driver"]) + _dealt([one for one in drawn if one[0] != "driver"])
    draw.shuffle(jobs)
    return [_timed(draw.sample(job, len(job)), draw) for job in jobs]


def _dealt(faults: list[tuple[str, str]]) -> list[list[tuple[str, str]]]:
    """To as few jobs as they need, of each kind some in each."""
    num_jobs = -(-len(faults) // FAULTS_A_JOB)
    return [sorted(faults)[job::num_jobs] for job in range(num_jobs)]


def _timed(job: list[tuple[str, str]], draw: random.Random) -> list[Fault]:
    """Each at a block of its own, in order; last those during which the stream goes on, maybe to its end."""
    job = sorted(job, key=lambda one: one[0] in ("producer", "evaluator") and one[1] != "kill")
    blocks = sorted(draw.sample(range(LAST_BLOCK), len(job)))
    return [Fault(role, kind, block, _lasts_s(role, kind)) for (role, kind), block in zip(job, blocks, strict=True)]


def _lasts_s(role: str, kind: str) -> float:
    return {"kill": 0.0, "slow": SLOW_S}.get(kind, HANG_S.get(role, 60.0))


def run_campaign(count: int, seed: int, tell: Callable[[Trial], None]) -> list[Trial]:
    """Tries `count` faults; the run folder of a job that did not survive stays, the others go."""
    ground = prepare_ground(Path(tempfile.mkdtemp(prefix="headrace-chaos-")))
    start_ray()
    trials: list[Trial] = []
    try:
        for number, faults in enumerate(draw_faults(count, seed)):
            shape = number % len(SHAPES)
            expected = ground.end(shape)
            found = try_faults(faults, ground.job(shape, f"job-{number}"), expected)
            trials += found
            for trial in found:
                tell(trial)
            if all(trial.is_survived for trial in found):
                shutil.rmtree(ground.folder / f"job-{number}", ignore_errors=True)
    finally:
        ray.shutdown()
    return trials
