"""What has been decoded and may be wanted again: row groups, or Arrow files that cannot be mapped into memory."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

SHELF_BYTES = 256 * 2**20
"""Of decoded text that a producer keeps."""


class Shelf:
    """The most recently used Arrow values whose sizes sum to at most `capacity_bytes`; the newest always stays."""

    def __init__(self, capacity_bytes: int = SHELF_BYTES) -> None:
        self._capacity_bytes = capacity_bytes
        self._values: OrderedDict[Hashable, Any] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, decode: Callable[[], Any]) -> Any:
        """The value under `key`, decoded now if it is not here."""
        with self._lock:
            if key not in self._values:
                self._values[key] = decode()
            self._values.move_to_end(key)
            value = self._values[key]
            while len(self._values) > 1 and sum(v.nbytes for v in self._values.values()) > self._capacity_bytes:
                self._values.popitem(last=False)
            return value
