"""Ray metrics that only the whole job shows, set by the driver: how far it is, and how far behind each trainer is."""

from cluster.gauges import Gauges
from cluster.status import blocks_emitted
from shared.ledger import ledger
from shared.registry_snapshot import Snapshot


class JobGauges:
    """`ray_headrace_job_<field>`, and `ray_headrace_trainer_lag_blocks` with each trainer's role."""

    def __init__(self, job: str) -> None:
        self._job, self._gauges = job, dict[str, Gauges]()

    def set(self, snapshot: Snapshot) -> None:
        self._of("job").set({"blocks": blocks_emitted(snapshot), "checkpoint_block": snapshot.job.checkpoint})
        for trainer in ledger(snapshot).trainers:
            self._of(f"trainer-{trainer.name}").set({"lag_blocks": trainer.lag_blocks})

    def _of(self, role: str) -> Gauges:
        return self._gauges.setdefault(role, Gauges(self._job, role))
