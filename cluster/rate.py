"""How fast a counter grows."""

import time
from collections import deque

WINDOW_S = 10.0


class Rate:
    """Mean growth of a counter over the last ten seconds, by the monotonic clock."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, float]] = deque()

    def per_s(self, count: float) -> float:
        """Takes in the counter's value now; 0 until there is a second sample, or after the counter went back."""
        now = time.monotonic()
        self._samples.append((now, count))
        while len(self._samples) > 2 and now - self._samples[0][0] > WINDOW_S:
            self._samples.popleft()
        first_s, start = self._samples[0]
        if count < start:
            self._samples.clear()
            self._samples.append((now, count))
            return 0.0
        return (count - start) / (now - first_s) if now > first_s else 0.0
