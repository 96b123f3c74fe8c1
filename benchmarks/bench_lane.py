"""How many bytes of rows does one lane pass on in a second, on one core, against copying them?

Bound by memory: every row is scattered into the reservoir, gathered into a block and copied once more into the store
that trainers read from, so three copies at least, two of them at random rows; a plain copy of the same rows in order is
the yardstick. The wider the row, the longer each piece, the nearer to it. Here the store is a fixed piece of memory, as
Ray's is; Ray itself, its messages and the trainers are left out.

Everything runs in one thread and is timed by the processor time it takes, so that other programs on the core count
only by the cache and the memory bandwidth they use. `gib_per_s` counts each row once. `of_copy` is the time of one
plain copy over the time of the lane: a third would be three plain copies and nothing else.

    python -m benchmarks.bench_lane --width 768 4096
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.measure import Spread, emit, in_turn, ratio
from shared.lane import Lane, LaneEnd, LaneSizes
from shared.row_table import RowFormat
from shared.stream_plan import StreamPlan

READER = "trainer"
DTYPE = "float16"
GIB = 2**30
UNIT_CHUNKS = 8
TURN_BYTES = 512 * 2**20
NEVER = 10**9
"""Blocks to the next barrier, of which there is none."""


class Store:
    """Takes tables into one fixed piece of memory, each over the one before."""

    def __init__(self, num_bytes: int) -> None:
        self._memory = pa.py_buffer(np.zeros(num_bytes, np.uint8))

    def put(self, table: pa.Table) -> int:
        writer = pa.FixedSizeBufferWriter(self._memory)
        with pa.ipc.new_stream(writer, table.schema) as stream:
            stream.write_table(table)
        return writer.tell()


class LaneSide:
    """A lane whose reservoir is full: each chunk that goes in lets as many rows out."""

    def __init__(self, width: int, arguments: argparse.Namespace) -> None:
        self._format = RowFormat("bench", "model", "none", {"h": width}, DTYPE)
        self._chunk_rows = arguments.chunk_rows
        block_rows, buffer_rows = 2 * self._chunk_rows, arguments.buffer_bytes // self._format.row_bytes
        num_slots = buffer_rows + 4 * self._chunk_rows + block_rows
        store = Store(2 * block_rows * self._format.row_bytes + 2**20)
        self._lane = Lane(
            0,
            StreamPlan(NEVER * block_rows, block_rows, 1, NEVER),
            self._format,
            LaneSizes(buffer_rows, self._chunk_rows, num_slots, 4 * block_rows * self._format.row_bytes),
            seed=0,
            num_units=NEVER,
            cursors={READER: 0},
            put=store.put,
        )
        self._table = self._chunk(width)
        self._pushed = self._fetched = 0
        self.turn_rows = TURN_BYTES // self._format.row_bytes // block_rows * block_rows
        self._pass(buffer_rows + block_rows)

    def __call__(self) -> float:
        """GiB of rows a second."""
        begun = time.process_time()
        self._pass(self.turn_rows)
        return self.turn_rows * self._format.row_bytes / GIB / (time.process_time() - begun)

    def copy_side(self) -> Callable[[], float]:
        """The same rows, copied in order from chunks into the place of the reservoir."""
        source = self._table.column("h").chunk(0).storage.flatten().to_numpy()
        target = np.zeros((self.turn_rows // self._chunk_rows, len(source)), source.dtype)

        def side() -> float:
            begun = time.process_time()
            for piece in target:
                np.copyto(piece, source)
            return target.nbytes / GIB / (time.process_time() - begun)

        return side

    def _chunk(self, width: int) -> pa.Table:
        rows = self._format.empty(self._chunk_rows)
        rows.activations["h"][...] = np.random.default_rng(0).standard_normal((self._chunk_rows, width))
        rows.addresses[...] = np.arange(self._chunk_rows)[:, None]
        return self._format.table(rows)

    def _pass(self, num_rows: int) -> None:
        """Push so many rows; whenever a block is due, emit and fetch it, and admit what waited for its room."""
        for _ in range(-(-num_rows // self._chunk_rows)):
            unit, chunk = divmod(self._pushed, UNIT_CHUNKS)
            self._lane.push(unit, chunk, UNIT_CHUNKS, 0, self._table)
            self._pushed += 1
            self._lane.pump(timeout_s=0.0)
            while self._lane.fetch(READER, 0, self._fetched, self._fetched, 0.0) is not LaneEnd.NOT_YET:
                self._fetched += 1
                self._lane.pump(timeout_s=0.0)


def compared(width: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """One width."""
    lane = LaneSide(width, arguments)
    rates = in_turn({"lane": lane, "copy": lane.copy_side()}, arguments.rounds, warmups=1)
    spreads = {f"{name}_gib_per_s": Spread.of(values) for name, values in rates.items()}
    return {"width": width, **spreads, "of_copy": ratio(rates["lane"], rates["copy"])}


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--width", type=int, nargs="+", default=[768, 4096])
    parser.add_argument("--buffer-bytes", type=int, default=384 * 2**20, help="of the reservoir; beyond any cache")
    parser.add_argument("--chunk-rows", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=9)
    return parser.parse_args()


def main() -> None:
    arguments = parsed()
    results = []
    for width in arguments.width:
        results.append(compared(width, arguments))
        shown = ", ".join(f"{name} {value}" for name, value in results[-1].items() if name != "width")
        print(f"width {width}: {shown}", flush=True)
    emit("lane", vars(arguments), results)


if __name__ == "__main__":
    main()
