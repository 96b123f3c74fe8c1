"""Real Redis on a clock that a test sets: the scripts as they are, but for the line that reads the server's clock."""

import functools
from typing import Any

import redis
from redis.commands.core import Script

CLOCK = "test:clock_ms"
"""The key that holds the time."""
READS_CLOCK = "redis.call('TIME')"
READS_OURS = f"""(function()
  local ms = tonumber(redis.call('GET', '{CLOCK}'))
  return {{math.floor(ms / 1000), ms % 1000 * 1000}}
end)()"""


@functools.cache
def on_our_clock(script: str) -> str:
    assert READS_CLOCK in script
    return script.replace(READS_CLOCK, READS_OURS)


class ClockedRedis(redis.Redis):
    """A client whose scripts read what `set_clock` said last."""

    @classmethod
    def like(cls, client: redis.Redis) -> "ClockedRedis":
        """With the connections of `client`."""
        return cls(connection_pool=client.connection_pool)

    def set_clock(self, now_ms: int) -> None:
        self.set(CLOCK, now_ms)

    def register_script(self, script: Any) -> Script:
        return super().register_script(on_our_clock(script))
