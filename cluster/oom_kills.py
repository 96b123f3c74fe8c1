"""Whether the kernel of this machine kills processes for want of memory.

A process that it kills is gone without a word, as one that crashed; only this count tells the two apart. It is of the
driver's own machine: of another node's, Ray's memory monitor tells, which kills before the kernel must.
"""

import math
from pathlib import Path

VMSTAT = Path("/proc/vmstat")


RECENT_S = 5.0
"""Between a kill and the moment when the driver knows of the death."""


class OomKills:
    """Told to look every second or so, and then asked about a death."""

    def __init__(self, vmstat: Path = VMSTAT) -> None:
        self._vmstat = vmstat
        self._seen = self._count()
        self._last_s = -math.inf

    def look(self, now_s: float) -> None:
        count = self._count()
        if count > self._seen:
            self._last_s = now_s
        self._seen = count

    def were_just_now(self, now_s: float) -> bool:
        """Whether there was one a few seconds ago."""
        self.look(now_s)
        return now_s - self._last_s <= RECENT_S

    def _count(self) -> int:
        """0 where the kernel does not count them."""
        try:
            lines = self._vmstat.read_text().splitlines()
        except OSError:
            return 0
        return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)
