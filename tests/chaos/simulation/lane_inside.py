"""What is really in a lane, between any two steps, by what lies there rather than by what the lane says of itself."""

from cluster.lane_actor import LaneActor, LaneStart
from shared.registry_facts import LaneCounters
from shared.row_table import Rows
from tests.chaos.simulation.ray_of_actors import Actor, RayOfActors
from tests.chaos.simulation.small_job import FORMAT


class LaneInside:
    """The lane of an actor that lives, or was ended and has not noticed. Touches nothing, so steps stay the same."""

    def __init__(self, actor: Actor) -> None:
        self._lane, self._start = actor._instance._lane, actor._args[-1]
        assert isinstance(self._start, LaneStart)
        self.index: int = self._lane.index

    def holds(self) -> LaneCounters:
        """The blocks that it has in memory and the files in its folder, all of which hold full blocks; its rows."""
        lane = self._lane
        in_memory = [block for block in lane._log._blocks.values() if not block.is_spooled]
        num_files = len(list(lane._spool.folder.glob("*.arrow"))) if lane._spool else 0  # the next driver clears it
        return LaneCounters(
            head=lane._reorder.head,
            staged=lane._reorder.num_rows,
            resident=lane._reservoir.num_live + lane._drawn,
            log_bytes=sum(block.num_rows for block in in_memory) * FORMAT.row_bytes,
            spool_bytes=num_files * lane._plan.block_rows * FORMAT.row_bytes,
        )

    def mismeasured(self, expected: list[Rows | None]) -> list[str]:
        """Where it does not know how many contexts its newest block is mixed of."""
        lane, newest = self._lane, self._lane._next_block - self._lane._plan.lanes
        is_of_this_life = newest >= max(self.index, self._start.barrier)
        rows = expected[newest] if is_of_this_life else None
        contexts = len({(unit, context) for unit, _, context, *_ in rows.addresses.tolist()}) if rows else 0
        if lane._block_contexts == contexts:
            return []
        return [f"lane-{self.index} says {lane._block_contexts} contexts of block {newest}, which has {contexts}"]

    def dropped_unread(self) -> list[str]:
        """Blocks that it let go of before all had read them that do not yield."""
        log, lanes = self._lane._log, self._lane._plan.lanes
        unread = max(self._start.barrier, min((log._cursors[reader] for reader in log._firm), default=log.furthest))
        first = unread + (self.index - unread) % lanes
        gone = [block for block in range(first, self._lane._next_block, lanes) if log.get(block) is None]
        return [f"lane-{self.index} has let go of the blocks {gone}, which are not read"] if gone else []


def lanes_of(ray: RayOfActors) -> list[LaneInside]:
    """Those whose actors were made and go on."""
    return [LaneInside(one) for one in ray.actors if one.is_alive and isinstance(one._instance, LaneActor)]
