"""From a job file's `registry` key to a registry: an embedded server under the runs folder, or the URL of another."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

from shared.embedded_redis import EmbeddedRedis
from shared.errors import UserError
from shared.registry_connection import RegistryAddress, check_server
from shared.registry_secret import check_url, password_of, with_password

EMBEDDED = "embedded"


def registry_address(registry: str, output: str | Path) -> RegistryAddress:
    """Where the registry of a job with this `registry` and `output` is; starts and connects to nothing."""
    return runs_address(registry, Path(output).parent)


def runs_address(registry: str, runs_folder: str | Path) -> RegistryAddress:
    """As `registry_address`, for a runs folder."""
    return EmbeddedRedis(Path(runs_folder)).address() if registry == EMBEDDED else _external(registry)


def _external(url: str) -> RegistryAddress:
    """Other nodes may not have the file with the password, so that the address has it in itself."""
    try:
        check_url(url)
    except ValueError as error:
        raise UserError(f"registry {error}") from None
    return RegistryAddress(with_password(url, password_of(url)))


@contextmanager
def open_registry(registry: str, runs_folder: str | Path) -> Iterator[redis.Redis]:
    """A client of the registry; an embedded server runs meanwhile, and longer if others need it.

    Raises:
        UserError: a server older than 6.2, or one that refuses the password.
        RegistryUnreachable: it does not answer.
    """
    if registry == EMBEDDED:
        with EmbeddedRedis(Path(runs_folder)) as client:
            yield client
        return
    address = _external(registry)
    check_server(address)
    with address.connect() as client:
        yield client
