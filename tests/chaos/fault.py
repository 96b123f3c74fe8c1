"""What is done to a part of a job, and what came of it: plain values."""

import json
import os
import signal
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any

SLOW_TURN_S, SLOW_SHARE = 1.0, 0.1
"""A slow process runs a tenth of each second."""


@dataclass(frozen=True)
class Fault:
    """What is done, to whom, and when."""

    role: str
    """producer, lane, trainer, evaluator, redis, driver; of several, which one is drawn from `block`."""
    kind: str
    """kill: SIGKILL. hang: SIGSTOP. slow: stopped for nine tenths of each second."""
    block: int
    """As soon as every trainer has read so many blocks."""
    lasts_s: float = 0.0
    """After it, one that hangs goes on, and one that is slow is no more; it may have been replaced by then."""

    def __str__(self) -> str:
        return f"{self.role} {self.kind} at block {self.block}"

    def strike(self, pid: int) -> None:
        """Does it to process `pid`, and returns at once."""
        if self.kind == "slow":
            threading.Thread(target=_slow_down, args=(pid, self.lasts_s), daemon=True).start()
            return
        os.kill(pid, signal.SIGKILL if self.kind == "kill" else signal.SIGSTOP)
        if self.kind == "hang":
            waking = threading.Timer(self.lasts_s, _send, (pid, signal.SIGCONT))
            waking.daemon = True
            waking.start()


@dataclass
class Trial:
    """What came of a fault; times in seconds since it."""

    fault: Fault
    is_tried: bool = False
    target: str = ""
    """The role that it was done to: `producer-1`."""
    is_survived: bool = False
    detection_s: float | None = None
    """Until the driver, or whoever waits for it, knew."""
    recovery_s: float | None = None
    """Until whoever took the place was heard, or the one that was away answered."""
    rows_lost: int | None = None
    rows_repeated: int = 0
    """Produced, mixed or read again, each once for each part that did."""
    dip: float | None = None
    """Share of the throughput that was missing while it lasted."""
    words: list[str] = field(default_factory=list)
    wall_s: float = 0.0
    """Of the whole job."""

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Trial":
        raw: dict[str, Any] = json.loads(text)
        return cls(Fault(**raw.pop("fault")), **raw)


def _slow_down(pid: int, lasts_s: float) -> None:
    end_s = time.monotonic() + lasts_s
    while time.monotonic() < end_s and _send(pid, signal.SIGSTOP):
        time.sleep(SLOW_TURN_S * (1 - SLOW_SHARE))
        _send(pid, signal.SIGCONT)
        time.sleep(SLOW_TURN_S * SLOW_SHARE)


def _send(pid: int, number: int) -> bool:
    with suppress(ProcessLookupError):
        os.kill(pid, number)
        return True
    return False
