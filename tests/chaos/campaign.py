"""Many real faults, one after another, and the table of what came of them."""

import random
import shutil
import statistics
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import ray

from shared.config import Job
from tests.chaos.trial import Fault, Trial, Undisturbed, try_fault, undisturbed
from tests.integration.scenario import make_job
from tests.tiny_models import text, tiny_gpt2

WEIGHTS = {
    ("producer", "kill"): 5,
    ("lane", "kill"): 5,
    ("trainer", "kill"): 5,
    ("driver", "kill"): 2,
    ("redis", "kill"): 3,
    ("producer", "hang"): 2,
    ("lane", "hang"): 2,
    ("trainer", "hang"): 2,
    ("driver", "hang"): 1,
    ("redis", "hang"): 1,
}
"""How often each is drawn; a hang takes half a minute to be seen."""
HANG_S = {"redis": 12.0, "driver": 20.0}
"""Of actors 60 s: they are replaced before."""
SHAPES = (
    {"producers__count": 2},
    {"producers__count": 2, "stream__lanes": 2, "stream__spool_bytes": "64MiB"},
)
"""Of the jobs: what the order of rows depends on is their number of lanes."""
NUM_BLOCKS = 40


@dataclass
class Ground:
    """Where trials are made: a model, a corpus, and how each shape of job ends when nothing happens."""

    folder: Path
    model: str
    corpus: str
    ends: dict[int, Undisturbed]

    def job(self, shape: int, name: str) -> Job:
        changes = {"name": name, **SHAPES[shape]}
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
        (corpus / f"{index:02}.txt").write_text(text(1500, seed=index))
    return Ground(folder, str(tiny_gpt2(folder / "gpt2")), str(corpus), {})


def start_ray() -> None:
    """One for all trials but those whose driver dies, which have their own."""
    ray.init(
        address="local",
        namespace="headrace-chaos",
        num_cpus=16,
        object_store_memory=256 * 2**20,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
    )


def draw_faults(count: int, seed: int) -> list[Fault]:
    """What is tried, in an order that the seed fixes."""
    draw, kinds = random.Random(seed), list(WEIGHTS)
    drawn = [draw.choices(kinds, list(WEIGHTS.values()))[0] for _ in range(count)]
    return [Fault(role, kind, draw.randrange(NUM_BLOCKS - 4), HANG_S.get(role, 60.0)) for role, kind in drawn]


def run_campaign(count: int, seed: int, tell: Callable[[Trial], None]) -> list[Trial]:
    """Tries `count` faults; the run folder of one that was not survived stays, the others go."""
    ground = prepare_ground(Path(tempfile.mkdtemp(prefix="headrace-chaos-")))
    start_ray()
    trials: list[Trial] = []
    try:
        for number, fault in enumerate(draw_faults(count, seed)):
            shape = number % len(SHAPES)
            expected = ground.end(shape)
            trial = try_fault(fault, ground.job(shape, f"trial-{number}"), expected)
            trials.append(trial)
            tell(trial)
            if trial.is_survived or not trial.is_tried:
                shutil.rmtree(ground.folder / f"trial-{number}", ignore_errors=True)
    finally:
        ray.shutdown()
    return trials


def table(trials: Iterable[Trial]) -> str:
    """As Markdown: one line for each role and kind of fault, medians with the greatest."""
    tried = [one for one in trials if one.is_tried]
    lines = [
        "| role | fault | tried | survived | detected after, s | back after, s | rows lost | rows done again |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for role, kind in WEIGHTS:
        some = [one for one in tried if (one.fault.role, one.fault.kind) == (role, kind)]
        if some:
            lines.append(_line(role, kind, some))
    lines.append(f"| all | | {len(tried)} | {sum(one.is_survived for one in tried)} | | | {_lost(tried)} | |")
    return "\n".join(lines)


def _line(role: str, kind: str, some: list[Trial]) -> str:
    signal = "SIGKILL" if kind == "kill" else "SIGSTOP"
    survived = sum(one.is_survived for one in some)
    detected, back = _spread([one.detection_s for one in some]), _spread([one.recovery_s for one in some])
    again = _spread([float(one.rows_repeated) for one in some], ".0f")
    return f"| {role} | {signal} | {len(some)} | {survived} | {detected} | {back} | {_lost(some)} | {again} |"


def _lost(some: list[Trial]) -> int:
    return sum(one.rows_lost or 0 for one in some)


def _spread(values: list[float | None], form: str = ".1f") -> str:
    known = [one for one in values if one is not None]
    return f"{statistics.median(known):{form}} (≤ {max(known):{form}})" if known else "-"
