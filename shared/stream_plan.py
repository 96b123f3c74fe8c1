"""How a stream of blocks falls to its lanes: pure arithmetic that every part agrees on.

Block s comes from lane s mod K and unit u goes to lane u mod K. A lane counts its own blocks and units from 0.
"""

from dataclasses import dataclass

from shared.config import Job


@dataclass(frozen=True)
class StreamPlan:
    """The stream of one job: its length and its division."""

    tokens: int
    """Rows in the whole stream, if the corpus lasts."""
    block_rows: int
    lanes: int
    every_blocks: int
    """Blocks between barriers."""

    @classmethod
    def of(cls, job: Job) -> "StreamPlan":
        return cls(job.tokens, job.stream.block_rows, job.stream.lanes, job.checkpoint.every_blocks)

    @property
    def num_blocks(self) -> int:
        return -(-self.tokens // self.block_rows)

    def block_size(self, block: int) -> int:
        """Rows of block `block`, if the corpus lasts."""
        return max(0, min(self.block_rows, self.tokens - block * self.block_rows))

    def lane_blocks(self, lane: int) -> int:
        """Blocks that lane `lane` gives."""
        return len(range(lane, self.num_blocks, self.lanes))

    def lane_rows(self, lane: int) -> int:
        """Rows that lane `lane` gives."""
        last = range(lane, self.num_blocks, self.lanes)
        return self.block_rows * (len(last) - 1) + self.block_size(last[-1]) if last else 0

    def rows_below(self, block: int) -> int:
        """Rows of all blocks before `block`."""
        return min(block * self.block_rows, self.tokens)

    def lane_units(self, lane: int, num_units: int) -> int:
        """How many of `num_units` units go to lane `lane`."""
        return len(range(lane, num_units, self.lanes))

    def next_barrier(self, block: int) -> int:
        """The first barrier at or after `block`."""
        return -(-block // self.every_blocks) * self.every_blocks
