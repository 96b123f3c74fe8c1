"""Calls the Lua scripts: one file, one transition; and words what a script refuses.

A script gets all keys of its job and strings; it answers `[word, …]`. `stale` and `schema` are refusals that any of
them may give, and become exceptions here; the others belong to the method that called.
"""

import functools
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis
from redis.commands.core import Script

from shared.errors import RegistryError, StaleToken, one_line
from shared.registry_connection import registry_errors
from shared.registry_keys import NAMES, SCHEMA, job_keys

SCRIPTS = Path(__file__).parent / "scripts"
DAMAGED = re.compile(r"<damaged>(.*?)<>")
"""What a script of ours says of a stored number before a loop that might have no end."""
STUMBLED = re.compile(
    r"(?:user_script: ?\d+:? |-|^)"
    r"((?:WRONGTYPE|attempt to|bad argument|Lua redis|hash value is not|resulting score).*?)"
    r"(?: script: \w+,.*)?$"
)
"""What Lua and Redis say, in 6.2 and in 7, of a script that met another type of value than we have written."""


@functools.cache
def script_text(name: str) -> str:
    """The script with what all share in front of it."""
    names = ", ".join(f"'{one}'" for one in NAMES)
    header = f"local NAMES, SCHEMA = {{{names}}}, '{SCHEMA}'\n"
    return header + (SCRIPTS / "prelude.lua").read_text() + (SCRIPTS / f"{name}.lua").read_text()


class ScriptCaller:
    """One job's scripts on one client. Threads may share it."""

    def __init__(self, client: redis.Redis, job: str) -> None:
        """`client` must decode responses, as those of `shared.registry_connection` do."""
        self.job = job
        self._client = client
        self._keys = dict(zip(NAMES, job_keys(job), strict=True))
        self._scripts: dict[str, Script] = {}

    def _call(self, name: str, *args: str | int) -> list[Any]:
        """What the script answers.

        Raises:
            StaleToken: the caller's role, unit or job has gone to someone else.
            RegistryError: the job was written by another version of Headrace, or what Redis holds of it is damaged.
            RegistryUnreachable: Redis does not answer, after some tries.
        """
        if name not in self._scripts:
            self._scripts[name] = self._client.register_script(script_text(name))
        with registry_errors(self._client), _damage(self.job):
            reply: list[Any] = self._scripts[name](keys=list(self._keys.values()), args=list(args))
        if reply[0] == "stale":
            raise StaleToken(_stale(*reply[1:]))
        if reply[0] == "schema":
            raise RegistryError(f"job {self.job} has registry schema {reply[1]}, this Headrace knows {SCHEMA}")
        return reply


@contextmanager
def _damage(job: str) -> Iterator[None]:
    """Words what a script says of values that we have not written so."""
    try:
        yield
    except redis.ResponseError as error:
        found = DAMAGED.search(str(error)) or STUMBLED.search(str(error))
        if not found:
            raise
        reason = one_line(found[1])
        raise RegistryError(f"what the registry holds of job {job} is damaged: {reason}") from error


def _stale(who: str, token: str, current: str) -> str:
    """`lane-0 token 3 is stale, 4 is in force`."""
    return f"{who} token {token} is stale, {current} is in force" if current else f"{who} token {token} is void"
