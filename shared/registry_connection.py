"""Connections to Redis: tries again a bounded number of times, says where it failed without saying the password."""

import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import redis
from redis.backoff import ExponentialWithJitterBackoff
from redis.retry import Retry

from shared.errors import HeadraceError, RegistryError, RegistryUnreachable, UserError, one_line

TIMEOUT_S = 5.0
NUM_RETRIES = 5
"""With the pauses between them about 1.5 s when the server is down, 30 s when it hangs."""
OLDEST_VERSION = (6, 2)
PROCESS = secrets.token_hex(4)
"""Tells apart processes of the same number on several machines."""
TEMPORARY = re.compile(r"(?:^|: -)(?:MISCONF|OOM|READONLY|LOADING|MASTERDOWN|CLUSTERDOWN|NOREPLICAS|BUSY) ")
"""Errors of a server that may be well again later: a full disk, no memory, a failover, somebody's long script.

Redis 6.2 puts them behind the name of the script that met them."""
OF_ITS_STATE = (
    redis.exceptions.OutOfMemoryError,
    redis.exceptions.ReadOnlyError,
    redis.exceptions.ClusterDownError,
    redis.exceptions.MasterDownError,
)
"""Those of them that redis-py knows, and whose first word it takes away."""


@dataclass(frozen=True, repr=False)
class RegistryAddress:
    """Where a registry is, for another process. Its repr holds no secret; `url` of an external server may."""

    url: str
    secret_path: str | None = None
    """A file that holds the password, where the URL does not."""

    @property
    def redacted(self) -> str:
        """The URL for people: without a password."""
        return redact(self.url)

    def connect(self) -> redis.Redis:
        """A client; does not yet talk to the server."""
        return connect_registry(self.url, self.secret_path)

    def __repr__(self) -> str:
        return f"RegistryAddress({self.redacted!r})"


def connect_registry(url: str, secret_file: str | Path | None = None, num_retries: int = NUM_RETRIES) -> redis.Redis:
    """A client for `url`, with the password in `secret_file` if there is one; threads may share it.

    Raises:
        UserError: not a URL of Redis.
        RegistryUnreachable: the secret file cannot be read.
    """
    options: dict[str, object] = {"password": _secret(secret_file)} if secret_file else {}
    retry = Retry(ExponentialWithJitterBackoff(base=0.05, cap=1.0), num_retries)
    try:
        return redis.Redis.from_url(
            url,
            decode_responses=True,
            protocol=2,
            socket_timeout=TIMEOUT_S,
            socket_connect_timeout=TIMEOUT_S,
            health_check_interval=30,
            retry=retry,
            client_name=client_name(),
            **options,
        )
    except ValueError as error:
        raise UserError(f"registry must be a redis://, rediss:// or unix:// URL, got {redact(url)!r}") from error


def client_name() -> str:
    """What this process's connections are called on the server: so that it can tell them from others'."""
    return f"headrace-{os.getpid()}-{PROCESS}"


def check_server(address: RegistryAddress) -> None:
    """Talks to the server once, without patience.

    Raises:
        UserError: it refuses the password, or is older than Redis 6.2.
        RegistryUnreachable: it does not answer.
    """
    client = connect_registry(address.url, address.secret_path, num_retries=0)
    with client, registry_errors(client):
        client.ping()
        version = server_version(client)
    if version and version < OLDEST_VERSION:
        found = ".".join(map(str, version))
        raise UserError(f"the registry at {address.redacted} is Redis {found}; Headrace needs 6.2 or newer")


def server_version(client: redis.Redis) -> tuple[int, ...]:
    """`(6, 2, 14)`; empty where the server does not let us ask."""
    try:
        info: dict[str, str] = client.info("server")
    except redis.exceptions.NoPermissionError:
        return ()
    return tuple(int(part) for part in str(info["redis_version"]).split(".") if part.isdigit())


@contextmanager
def registry_errors(client: redis.Redis) -> Iterator[None]:
    """Words the errors of redis-py as ours; none of them holds the password."""
    try:
        yield
    except redis.RedisError as error:
        raise _worded(error, describe(client)) from error
    except UnicodeDecodeError as error:
        raise RegistryError(f"{describe(client)} holds what is not text: {one_line(error)}") from error


@contextmanager
def sound_contents(job: str) -> Iterator[None]:
    """Words what goes wrong while something is read that Redis holds of `job` and that we have not written so."""
    try:
        yield
    except HeadraceError:
        raise
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, ArithmeticError, RecursionError) as error:
        raise RegistryError(
            f"what the registry holds of job {job} is damaged: {type(error).__name__}: {one_line(error)}"
        ) from error


def describe(client: redis.Redis) -> str:
    """`the registry at redis://host:6379`."""
    options = client.connection_pool.connection_kwargs
    if "path" in options:
        return f"the registry at unix://{options['path']}"
    scheme = "rediss" if issubclass(client.connection_pool.connection_class, redis.SSLConnection) else "redis"
    return f"the registry at {scheme}://{options.get('host', 'localhost')}:{options.get('port', 6379)}"


def redact(url: str) -> str:
    """`redis://user:secret@host:6379/0` as `redis://user:***@host:6379/0`; a query goes, since it may hold one too."""
    parts = urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")
    name, colon, _ = user.partition(":")
    return f"{parts.scheme}://{name}{':***' if colon else ''}{at}{host}{parts.path}"


def _secret(path: str | Path) -> str:
    try:
        return Path(path).read_text(encoding="ascii").strip()
    except OSError as error:
        raise RegistryUnreachable(f"cannot read the registry's password file {path}: {error.strerror}") from error


def _worded(error: redis.RedisError, where: str) -> HeadraceError:
    if isinstance(error, (redis.AuthenticationError, redis.exceptions.AuthorizationError)):
        return UserError(f"{where} refuses the user name or password")
    if isinstance(error, (redis.ConnectionError, redis.TimeoutError)):
        return RegistryUnreachable(f"{where} does not answer")
    if isinstance(error, OF_ITS_STATE) or TEMPORARY.search(str(error)):
        return RegistryUnreachable(f"{where} cannot be used at the moment: {one_line(error)}")
    return RegistryError(f"{where} refuses: {one_line(error)}")
