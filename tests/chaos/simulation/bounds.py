"""What a lane may hold, whatever happens: the fourth promise of the stream, that it is bounded."""

from shared.registry_facts import LaneCounters
from tests.chaos.simulation.small_job import FORMAT, SmallJob


class Bounds:
    """Of the lanes of one job.

    In the log: `log_bytes`, or a block where that is more, since a memory without a block takes any. The block that is
    being made needs no more than that: it is drawn only once there is room for it. On disk: `spool_bytes`. In the
    reservoir, with what is drawn of it: `buffer_rows`. In the reorder stage: what the units hold that lie in the
    window from the lane's head on, since no other one is leased.
    """

    def __init__(self, small: SmallJob) -> None:
        job = small.job
        self._units, self._num_lanes, self._window = small.chunk_rows, job.stream.lanes, job.window_units
        self._buffer_rows, self._spool_bytes = job.stream.buffer_rows, job.stream.spool_bytes
        self._log_bytes = max(job.stream.log_bytes, job.stream.block_rows * FORMAT.row_bytes)

    def breaches(self, lane: int, held: LaneCounters) -> list[str]:
        """A sentence for each of them that `lane` is beyond."""
        found = {
            "bytes in its log": (held.log_bytes, self._log_bytes),
            "bytes in its spool": (held.spool_bytes, self._spool_bytes),
            "rows in its reservoir": (held.resident, self._buffer_rows),
            "rows in its reorder stage": (held.staged, self._window_rows(lane, held.head)),
        }
        return [f"lane-{lane} has {has} {what}, more than {most}" for what, (has, most) in found.items() if has > most]

    def _window_rows(self, lane: int, head: int) -> int:
        """Rows of the units of `lane` that may be in work."""
        return sum(map(sum, self._units[lane :: self._num_lanes][head : head + self._window]))
