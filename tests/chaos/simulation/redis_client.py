"""Real Redis on the world's clock, with the faults that a connection has.

The scripts run as they are, but for the line that reads the server's clock (`tests.redis_clock`). A reply may be
lost after the server did what was asked, and is then asked for again, as the client does; the server may be away.
"""

import functools
from typing import Any

import redis

from shared.registry import Registry
from shared.registry_keys import job_keys
from shared.registry_scripts import SCRIPTS, script_text
from shared.registry_snapshot import Snapshot, parse_snapshot
from tests.chaos.simulation.world import World
from tests.redis_clock import CLOCK, on_our_clock

LANES = 3
"""Where a snapshot has its lanes."""
PATIENCE_S = 300.0
"""By the real clock: the server is there, if the machine is busy with something else."""
AWAY_S = 1.5
"""What the client's own tries take before it gives up."""


class Replies:
    """Reads what the server answers, each to one command, in less time than redis-py does."""

    def __init__(self, connection: Any) -> None:
        self._socket = connection._sock
        self._socket.settimeout(PATIENCE_S)
        self._error_of = connection._parser.parse_error
        self._data, self._at = b"", 0

    def read(self) -> Any:
        """Raises redis.ResponseError where the answer is one."""
        while True:
            try:
                reply, at = self._reply(self._at)
                break
            except ValueError:  # its end has not come yet
                if not (more := self._socket.recv(2**16)):
                    raise redis.ConnectionError("the server has hung up") from None
                self._data += more
        self._data, self._at = (b"", 0) if at == len(self._data) else (self._data, at)
        if isinstance(reply, redis.ResponseError):
            raise reply
        return reply

    def _reply(self, at: int) -> tuple[Any, int]:
        """The one that begins at `at`, and where it ends. Raises ValueError where that is not here yet."""
        data = self._data
        end = data.index(b"\r\n", at)
        kind, head, after = data[at : at + 1], data[at + 1 : end], end + 2
        if kind == b"$":
            size = int(head)
            if size < 0:
                return None, after
            if len(data) < after + size + 2:
                raise ValueError
            return data[after : after + size].decode(), after + size + 2
        if kind == b":":
            return int(head), after
        if kind == b"*":
            found = []
            for _ in range(int(head)):
                one, after = self._reply(after)
                found.append(one)
            return found, after
        assert kind in b"+-", kind
        return (head.decode() if kind == b"+" else self._error_of(head.decode())), after


class Server:
    """The one server of a world, and what is wrong with it."""

    def __init__(self, client: redis.Redis) -> None:
        self.connection: Any = client.connection_pool.get_connection()
        self._replies = Replies(self.connection)
        self.client = client
        self.is_away = False
        self.ahead_s = 0.0
        """Of the world's clock."""
        self._raw = redis.Redis(  # its replies are not text
            connection_pool=redis.ConnectionPool(
                connection_class=redis.UnixDomainSocketConnection,
                path=client.connection_pool.connection_kwargs["path"],
                password=client.connection_pool.connection_kwargs["password"],
            )
        )
        self._snapshot = client.register_script(on_our_clock(script_text("snapshot")))
        self._remembered: dict[str, Any] = {}
        self.loss_of_replies = 0.0
        self._clock_ms = -1
        if not hasattr(client, "knows_scripts"):  # or the first schedule would have steps of its own
            for path in SCRIPTS.glob("*.lua"):
                client.script_load(on_our_clock(script_text(path.stem)))
            client.knows_scripts = True  # type: ignore[attr-defined]

    def release(self) -> None:
        """Gives the connections back."""
        self.client.connection_pool.release(self.connection)
        self._raw.connection_pool.disconnect()

    def remember(self, job: str) -> None:
        """What the server knows of a job now will be all that it knows after `forget`."""
        self._remembered = {key: self._raw.dump(key) for key in job_keys(job)}

    def forget(self) -> None:
        for key, value in self._remembered.items():
            self._raw.delete(key)
            if value is not None:
                self._raw.restore(key, 0, value)

    def snapshot(self, job: str) -> Snapshot | None:
        """The job at this moment, seen from outside of the world; None where there is no stream yet."""
        if self._clock_ms < 0:
            return None
        reply: Any = self._snapshot(job_keys(job), [])
        if reply[0] != "ok" or not reply[LANES]:
            return None
        return parse_snapshot(job, reply[1:])

    def execute(self, client: redis.Redis, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        now_ms, asked = int((World.current.now_s + self.ahead_s) * 1000), [args]
        if now_ms != self._clock_ms:
            self._clock_ms = now_ms
            asked = [("SET", CLOCK, now_ms), args]
        self.connection.send_packed_command([b"".join(map(_packed, asked))], check_health=False)
        if len(asked) > 1:
            self._replies.read()
        reply, callback = self._replies.read(), client.response_callbacks.get(args[0])
        return callback(reply, **options) if callback else reply


def _packed(command: tuple[Any, ...]) -> bytes:
    """As redis-py packs it, in a tenth of its time: of a script's call, name and keys are the same each time."""
    fixed = 3 + command[2] if command[0] == "EVALSHA" else 1
    return b"*%d\r\n" % len(command) + _parts(command[:fixed]) + b"".join(map(_part, command[fixed:]))


@functools.lru_cache(1024)
def _parts(words: tuple[Any, ...]) -> bytes:
    return b"".join(map(_part, words))


def _part(word: Any) -> bytes:
    raw = str(word).encode()
    return b"$%d\r\n%b\r\n" % (len(raw), raw)


class WorldRedis(redis.Redis):
    """The client of all processes of a world: whose call it is the world knows."""

    server: Server

    @classmethod
    def of(cls, server: Server) -> "WorldRedis":
        client = cls(connection_pool=server.client.connection_pool)
        client.server = server
        return client

    def register_script(self, script: str) -> Any:
        return super().register_script(on_our_clock(script))

    def execute_command(self, *args: Any, **options: Any) -> Any:
        world, server = World.current, self.server
        if args[0] == "XADD" and str(args[1]).endswith(":metrics"):
            return "0-0"  # nothing depends on measurements, and there are many
        world.point()
        if server.is_away:
            world.sleep(AWAY_S)
            if server.is_away:
                raise redis.ConnectionError("away")
        answer = self._executed(args, options)
        if server.loss_of_replies and world.random.random() < server.loss_of_replies:
            world.point()
            world.point()
            answer = self._executed(args, options)
        world.point()
        return answer

    def _executed(self, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        return self.server.execute(self, args, options)


class WorldAddress:
    """What stands for a `RegistryAddress`."""

    def __init__(self, server: Server) -> None:
        self._client = WorldRedis.of(server)

    def connect(self) -> WorldRedis:
        return self._client

    def registry(self, job: str) -> Registry:
        return Registry(self.connect(), job)
