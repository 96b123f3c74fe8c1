"""Where actors go and what Ray reserves for them: pure decisions on resources."""

from collections.abc import Mapping
from dataclasses import dataclass

from shared.config import Job
from shared.errors import UserError

GPU_ADVICE = "lower producers.gpus, evaluation.gpus or the trainers' gpus (parts of one, such as 0.5, may be shared)"


@dataclass(frozen=True)
class Reservation:
    """What Ray sets aside for one actor."""

    cpus: float
    gpus: float


def wanted(job: Job) -> dict[str, Reservation]:
    """Role -> what the job file asks for it; lanes work mostly in memory and take one CPU each."""
    roles = {f"lane-{index}": Reservation(1.0, 0.0) for index in range(job.stream.lanes)}
    for index in range(job.producers.count):
        roles[f"producer-{index}"] = Reservation(job.producers.cpus, job.producers.gpus)
    for trainer in job.trainers:
        roles[f"trainer-{trainer.name}"] = Reservation(trainer.cpus, trainer.gpus)
    if job.evaluation.every_blocks is not None:
        roles["evaluator"] = Reservation(job.evaluation.cpus, job.evaluation.gpus)
    return roles


def wanted_collectors(job: Job, count: int) -> dict[str, Reservation]:
    """Role -> what a collector of features gets: it does a producer's work."""
    return {f"collector-{index}": Reservation(job.producers.cpus, job.producers.gpus) for index in range(count)}


def fit(
    roles: Mapping[str, Reservation], cpus: float, gpus: float, gpu_advice: str = GPU_ADVICE
) -> dict[str, Reservation]:
    """The reservations as they fit into a cluster of `cpus` and `gpus`.

    CPUs are a means of counting: where there are fewer than asked for, all actors share them in proportion. A GPU is
    not shared by stealth. Raises UserError, with `gpu_advice`, if there are too few.
    """
    gpus_asked, cpus_asked = sum(one.gpus for one in roles.values()), sum(one.cpus for one in roles.values())
    if gpus_asked > gpus:
        raise UserError(
            f"the job asks for {gpus_asked:g} GPU{'s' if gpus_asked > 1 else ''} and there are {gpus:g}: {gpu_advice}"
        )
    share = min(1.0, cpus / cpus_asked) if cpus_asked else 1.0
    return {role: Reservation(_rounded_down(one.cpus * share), one.gpus) for role, one in roles.items()}


def idle_gpus(job: Job, gpus: float) -> str | None:
    """What somebody who has GPUs may have overlooked; None if there are none, or producers have some."""
    if not gpus or job.producers.gpus or job.model.device == "cpu":
        return None
    are = f"is {gpus:g} GPU" if gpus == 1 else f"are {gpus:g} GPUs"
    return f"there {are} and producers.gpus is 0, so the model runs on CPUs: give each producer one, or a part of one"


def shortage(roles: Mapping[str, Reservation], free_cpus: float, free_gpus: float) -> str | None:
    """What the actors will have to wait for, because others on the cluster hold it; None if they can start at once."""
    asked = {
        "CPUs": (sum(one.cpus for one in roles.values()), free_cpus),
        "GPUs": (sum(one.gpus for one in roles.values()), free_gpus),
    }
    short = [f"{name} ({wanted:g} wanted, {free:g} free)" for name, (wanted, free) in asked.items() if wanted > free]
    return f"other jobs hold the cluster's {' and '.join(short)}: parts of this one wait for them" if short else None


def _rounded_down(cpus: float) -> float:
    """Ray counts in units of 1/10000; whole CPUs above one, since Ray takes no fractions there."""
    return float(int(cpus)) if cpus >= 1 else int(cpus * 1000) / 1000
