"""A trainer's end of the stream: blocks in order, fetched ahead by a thread, whatever becomes of the lanes."""

import queue
import threading
from contextlib import suppress
from typing import NamedTuple

import pyarrow as pa
import ray
from ray.exceptions import GetTimeoutError, ObjectLostError, RayActorError

from cluster.lane_client import FetchedBlock, LaneClient, LaneGone
from shared.errors import HeadraceError
from shared.lane import LaneEnd

POLL_S = 5.0
FETCH_TIMEOUT_S = 60.0
NUM_AHEAD = 2
"""Blocks that wait beside the one that is read."""


class LogGone(HeadraceError):
    """A lane cannot give a block any more: `block 12 is gone from lane-0's log`. All must go back for it to be made."""


class StreamBlock(NamedTuple):
    """What a lane gave for one number."""

    number: int
    table: pa.Table | None
    """None: there is none to read."""
    is_gap: bool = False
    """It was there, and is gone; else a lane without a block has ended."""


class BlockReader:
    """Blocks from `cursor` on, for reader `name`; `next` gives them, `read_below` frees them in the lanes' logs.

    A reader that yields is told of blocks that are gone as gaps; of damaged ones it needs new ones, as all do.
    """

    def __init__(
        self, name: str, token: int, num_lanes: int, num_blocks: int, cursor: int, yields: bool = False
    ) -> None:
        self._yields = yields
        self._name, self._token, self._num_lanes, self._num_blocks = name, token, num_lanes, num_blocks
        self._lanes = LaneClient(num_lanes)
        self._cursor = cursor
        self._ready: queue.Queue[StreamBlock | BaseException] = queue.Queue(NUM_AHEAD)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(cursor,), name="block-reader", daemon=True)
        self._thread.start()

    def next(self, timeout_s: float) -> StreamBlock | None:
        """The next block; None if none has come in time.

        Raises:
            LogGone: it cannot come any more. StaleToken: another process has this trainer's role.
        """
        try:
            got = self._ready.get(timeout=timeout_s)
        except queue.Empty:
            return None
        if isinstance(got, BaseException):
            raise got
        return got

    def read_below(self, cursor: int) -> None:
        """All blocks below `cursor` are read: tells the lane of the last one, which may wait for its room."""
        self._cursor = cursor
        with suppress(LaneGone):
            lane = self._lanes.handle((cursor - 1) % self._num_lanes)
            lane.read_below.remote(self._name, self._token, cursor)

    def close(self) -> None:
        """End the thread; blocks that wait are let go."""
        self._stopping.set()

    def _run(self, wanted: int) -> None:
        try:
            while wanted < self._num_blocks and not self._stopping.is_set():
                block = self._fetch(wanted)
                if block is not None:
                    self._put(block)
                    wanted += 1
        except BaseException as error:
            self._put(error)

    def _put(self, item: "StreamBlock | BaseException") -> None:
        while not self._stopping.is_set():
            try:
                self._ready.put(item, timeout=0.5)
                return
            except queue.Full:
                continue

    def _fetch(self, wanted: int) -> StreamBlock | None:
        """Ask once; None when it is to be asked again."""
        lane = wanted % self._num_lanes
        try:
            handle = self._lanes.handle(lane)
            call = handle.fetch.remote(self._name, self._token, self._cursor, wanted, POLL_S)
            answer = self._lanes.wait(lane, call, FETCH_TIMEOUT_S)
            if answer is LaneEnd.NOT_YET:
                return None
            if answer is LaneEnd.FINISHED:
                return StreamBlock(wanted, None)
            if answer is LaneEnd.GONE and self._yields:
                return StreamBlock(wanted, None, is_gap=True)
            if answer is LaneEnd.GONE:
                raise LogGone(f"block {wanted} is gone from lane-{lane}'s log")
            if answer is LaneEnd.DAMAGED:
                raise LogGone(f"block {wanted} is damaged in lane-{lane}'s spool")
            assert isinstance(answer, FetchedBlock)
            return StreamBlock(answer.number, ray.get(answer.boxed[0], timeout=FETCH_TIMEOUT_S))
        except (LaneGone, GetTimeoutError, ObjectLostError, RayActorError):
            return None
