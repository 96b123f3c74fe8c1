"""A producer as a Ray actor: leases units, runs the model on them, pushes chunks; at most two pushes unanswered.

A push is answered when the lane has copied the rows in, so the answer is the credit for the next one, and nothing of
what was pushed dies with the producer.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

import ray
import torch
from ray.actor import ActorHandle
from ray.exceptions import GetTimeoutError

from cluster.gauges import Gauges
from cluster.lane_client import LaneClient, LaneGone
from cluster.patience import patiently
from cluster.rate import Rate
from cluster.seat import Seat, prepare_process
from producers.corpus import Corpus
from producers.producer import Chunk, Producer
from shared.errors import JobFailed, StaleToken
from shared.lease_keeper import LeaseKeeper
from shared.registry_facts import Lease

log = logging.getLogger(__name__)
LEASE_MS = 30_000
MAX_UNANSWERED = 2
POLL_S = 0.05
REPORT_S = 1.0


class Push(NamedTuple):
    """A push that is not answered yet."""

    lease: Lease
    lane: int
    reference: ray.ObjectRef


class ProducerActor:
    """One producer; it never ends by itself, since a lane that is rewound needs units again."""

    def __init__(self, seat: Seat, fingerprint: str) -> None:
        self._seat, self._job = seat, seat.job
        prepare_process(seat)
        torch.set_num_threads(seat.job.producers.threads)
        self._registry = seat.open_registry()
        self._keeper = LeaseKeeper(self._registry, seat.role, seat.token, LEASE_MS)
        self._lanes = LaneClient(seat.job.stream.lanes)
        self._fingerprint = fingerprint
        self._leased: deque[Lease] = deque()
        """Of the units that `chunks` was given and has not begun, in order."""
        self._lease: Lease | None = None
        """Of the unit whose chunks come now; a later lease of the same unit is another pass over it."""
        self._abandoned: set[int] = set()
        """Tokens of leases whose units are in other hands."""
        self._unanswered: deque[Push] = deque()
        self._rows = self._turns = 0
        self._forward_s = self._unit_wait_s = self._push_wait_s = self._lease_wait_s = 0.0

    def __repr__(self) -> str:
        return f"Producer({self._seat.role.partition('-')[2]})"

    def run(self) -> None:
        """Produce until the driver ends this actor; its reference tells the driver when it dies."""
        self._keeper.start(lambda: self._turns)
        producer = self._load()
        reporter = threading.Thread(target=self._report_forever, daemon=True)
        reporter.start()
        for chunk in producer.chunks(self._units()):
            self._handle(chunk)

    def _load(self) -> Producer:
        corpus = Corpus.open(self._job.corpus, self._job.seed, self._job.evaluation.holdout)
        if corpus.fingerprint != self._fingerprint:
            raise JobFailed("corpus.source: the files are not those that this job began with")
        producer = Producer(self._job, corpus)
        log.info("producer=%s model=%s ready", self._seat.role, self._job.model.name)
        return producer

    def _units(self) -> Iterator[int]:
        """Units as they are leased; waits while there is none."""
        while True:
            asked = time.perf_counter()
            self._turns += 1
            lease = patiently(lambda: self._registry.lease_unit(self._seat.role, self._seat.token, LEASE_MS))
            if not isinstance(lease, Lease):
                time.sleep(POLL_S)
                self._lease_wait_s += time.perf_counter() - asked
                continue
            self._keeper.hold(lease)
            self._leased.append(lease)
            yield lease.unit

    def _handle(self, chunk: Chunk) -> None:
        """Push one chunk, and settle the unit with its last one."""
        self._turns += 1
        self._forward_s += chunk.forward_s
        self._unit_wait_s += chunk.wait_s
        if chunk.number == 0:
            self._lease = self._leased.popleft()
            self._abandoned.clear()
        lease = self._lease
        assert lease is not None and lease.unit == chunk.unit
        if lease.token not in self._abandoned:
            self._try(chunk, lease)
        if chunk.number + 1 == chunk.num_chunks:
            self._drop(lease)

    def _try(self, chunk: Chunk, lease: Lease) -> None:
        try:
            if chunk.number == 0:
                patiently(lambda: self._registry.announce_unit(chunk.unit, lease.token, chunk.unit_rows))
            self._push(chunk, lease)
            self._answers(MAX_UNANSWERED - 1)
            if chunk.number + 1 == chunk.num_chunks:
                self._answers(0)
                if lease.token not in self._abandoned:
                    patiently(lambda: self._registry.finish_unit(chunk.unit, lease.token))
        except StaleToken as error:
            self._abandon(lease, str(error))
        except LaneGone as error:
            self._give_back(lease, f"{error} died")

    def _push(self, chunk: Chunk, lease: Lease) -> None:
        lane = chunk.unit % self._job.stream.lanes
        handle = self._lane(lane)
        reference = handle.push.remote(chunk.unit, chunk.number, chunk.num_chunks, lease.token, chunk.table)
        self._unanswered.append(Push(lease, lane, reference))
        self._rows += chunk.table.num_rows

    def _lane(self, number: int) -> ActorHandle:
        """The lane's actor; waits while there is none, since the lease may be good for the next one."""
        while True:
            with suppress(LaneGone):
                return self._lanes.handle(number)

    def _answers(self, at_most: int) -> None:
        """Wait until at most so many pushes are unanswered."""
        begun = time.perf_counter()
        while len(self._unanswered) > at_most:
            push = self._unanswered.popleft()
            try:
                self._answer(push)
            except StaleToken as error:
                self._abandon(push.lease, str(error))
            except LaneGone as error:
                self._give_back(push.lease, f"{error} died")
        self._push_wait_s += time.perf_counter() - begun

    def _answer(self, push: Push) -> None:
        while True:  # a full stream may hold a push back for as long as its slowest trainer likes
            self._turns += 1
            try:
                self._lanes.wait(push.lane, push.reference)
                return
            except GetTimeoutError:
                continue

    def _abandon(self, lease: Lease, reason: str) -> None:
        """Leave a unit to whoever has it now."""
        self._abandoned.add(lease.token)
        self._drop(lease)
        log.info("producer=%s unit=%d abandoned reason=%s", self._seat.role, lease.unit, reason)

    def _give_back(self, lease: Lease, reason: str) -> None:
        """Let the unit be leased again at once: its lane has died with what was pushed of it."""
        if lease.token not in self._abandoned:
            with suppress(StaleToken):
                patiently(lambda: self._registry.give_back_unit(lease.unit, lease.token, reason, is_blamed=False))
            self._abandon(lease, reason)

    def _drop(self, lease: Lease) -> None:
        """Renew the lease no more, unless the unit waits here again under another one."""
        if all(waiting.unit != lease.unit for waiting in self._leased):
            self._keeper.drop(lease.unit)

    def _report_forever(self) -> None:
        gauges, rate = Gauges(self._job.name, self._seat.role), Rate()
        while not self._keeper.is_fenced:
            time.sleep(REPORT_S)
            busy = self._forward_s + self._unit_wait_s + self._push_wait_s or 1.0
            stream_wait_s = min(self._lease_wait_s, self._unit_wait_s)  # units come late because the stream is full
            fields = {
                "rows_per_s": rate.per_s(self._rows),
                "tokens": self._rows,
                "wait_fraction": (self._unit_wait_s - stream_wait_s) / busy,
                "push_wait_fraction": (self._push_wait_s + stream_wait_s) / busy,
            }
            try:
                self._registry.add_metrics(self._seat.role, fields)
                gauges.set(fields)
            except Exception as error:
                log.warning("producer=%s could not report: %s", self._seat.role, error)
