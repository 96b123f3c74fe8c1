"""A job as it stands in an embedded registry while it runs, to be followed by whoever looks."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from example_run import BLOCK_ROWS, example_job

from shared.embedded_redis import EmbeddedRedis
from shared.job_file import dump_job
from shared.job_state import JobState
from shared.registry import Registry
from shared.registry_facts import LaneCounters, StreamPoint, TrainerCounters

RUN = "now"
SAE = "relu-16384"
LANES = 2


class LiveJob(NamedTuple):
    """Its registry and its driver's token."""

    registry: Registry
    token: int

    def measure(self, cursor: int, lag_blocks: int, fvu: float) -> None:
        """The SAE has read the blocks below `cursor`, and the lanes have emitted so many more."""
        for lane in range(LANES):
            blocks = len(range(lane, cursor + lag_blocks, LANES))
            emitted, next_block = blocks * BLOCK_ROWS, lane + blocks * LANES
            counted = LaneCounters(pushed=emitted, emitted=emitted, next_block=next_block, rows_per_s=9.0)
            self.registry.publish_lane(lane, self.registry.claim_role(self.token, f"lane-{lane}"), counted)
        rows, trainer = cursor * BLOCK_ROWS, self.registry.claim_role(self.token, f"trainer-{SAE}")
        counters = TrainerCounters(cursor, rows, state="running", rows_per_s=5.0, fvu=fvu, l0=50.0)
        self.registry.publish_trainer(SAE, trainer, counters)
        measured = {"tokens": rows, "fvu": fvu, "l0": 50.0, "rows_per_s": 5.0}
        self.registry.add_metrics(f"trainer-{SAE}", measured)


@contextmanager
def live_job(runs: Path) -> Iterator[LiveJob]:
    """The job whose run folder is `runs/now`, with a driver that lives; the registry goes when the block ends."""
    job = example_job().model_copy(update={"output": str(runs / RUN)})
    (runs / RUN).mkdir()
    (runs / RUN / "job.yaml").write_text(dump_job(job))
    embedded = EmbeddedRedis(runs)
    with embedded.connect() as client:
        registry = Registry(client, job.name)
        token = registry.claim_job(dump_job(job), str(runs / RUN), resume=False)
        names = [one.name for one in job.trainers]
        registry.begin_stream(token, StreamPoint.fresh(61_000, 8, BLOCK_ROWS, LANES, names))
        registry.set_state(token, JobState.RUNNING)
        yield LiveJob(registry, token)
    embedded.stop()
