"""Calls the Lua scripts: one file, one transition; and words what a script refuses.

A script gets all keys of its job and strings; it answers `[word, …]`. `stale` and `schema` are refusals that any of
them may give, and become exceptions here; the others belong to the method that called.
"""

import functools
from pathlib import Path
from typing import Any

import redis
from redis.commands.core import Script

from shared.errors import RegistryError, StaleToken
from shared.registry_connection import registry_errors
from shared.registry_keys import NAMES, SCHEMA, job_keys

SCRIPTS = Path(__file__).parent / "scripts"


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
            RegistryError: the job was written by another version of Headrace.
            RegistryUnreachable: Redis does not answer, after some tries.
        """
        if name not in self._scripts:
            self._scripts[name] = self._client.register_script(script_text(name))
        with registry_errors(self._client):
            reply: list[Any] = self._scripts[name](keys=list(self._keys.values()), args=list(args))
        if reply[0] == "stale":
            raise StaleToken(_stale(*reply[1:]))
        if reply[0] == "schema":
            raise RegistryError(f"job {self.job} has registry schema {reply[1]}, this Headrace knows {SCHEMA}")
        return reply


def _stale(who: str, token: str, current: str) -> str:
    """`lane-0 token 3 is stale, 4 is in force`."""
    return f"{who} token {token} is stale, {current} is in force" if current else f"{who} token {token} is void"
