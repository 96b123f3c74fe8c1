"""Jobs alike on a cluster, and the weights with which they end where nothing happens to them."""

from pathlib import Path

from cluster.controller import Outcome
from shared.config import Job
from tests.integration.scenario import TRAINERS, make_job, run, weights
from tests.paced import ARCHITECTURE

PACED = {"name": "paced", "architecture": ARCHITECTURE, "num_latents": 64, "k": 8, "batch_rows": 500, "pause_ms": 700}
"""So slow that a job does not end before a lost node is missed: two steps a block."""
EVALUATION = {"every_blocks": 10, "holdout": 0.1, "contexts": 8, "contexts_per_forward": 4}


class ClusterJobs:
    """Jobs with two producers and an evaluator, on one external Redis."""

    def __init__(self, folder: Path, model: str, corpus: str, registry: str) -> None:
        self._folder, self._model, self._corpus, self._registry = folder, model, corpus, registry
        self._end: dict[str, bytes] = {}

    def job(self, name: str) -> Job:
        changes = {
            "name": name,
            "registry": self._registry,
            "producers__count": 2,
            "evaluation": EVALUATION,
            "trainers": [*TRAINERS, PACED],
        }
        return make_job(self._folder / name, self._model, self._corpus, **changes)

    @property
    def has_ended(self) -> bool:
        """What `end` gives is known already."""
        return bool(self._end)

    def end(self) -> dict[str, bytes]:
        """The weights of a job that nothing happened to, run in this process's Ray at first."""
        if not self._end:
            whole = self.job("whole")
            assert run(whole).outcome is Outcome.FINISHED
            self._end = weights(whole)
        return self._end
