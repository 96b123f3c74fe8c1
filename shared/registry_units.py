"""The part of the registry that gives out units.

At most one valid lease for a unit; every grant has a token that grows; whoever holds an older one is refused. Units are
given in order, each lane at most `window_units` ahead of its head, and come back when their lease runs out.
"""

import secrets
from collections.abc import Mapping
from typing import Any

from shared.errors import RegistryError
from shared.registry_connection import registry_errors, sound_contents
from shared.registry_facts import DeadUnit, End, Lease, Wait
from shared.registry_scripts import ScriptCaller
from shared.registry_snapshot import parse_dead


class UnitCalls(ScriptCaller):
    """The producers' calls, and the controller's when one of them died."""

    def lease_unit(self, producer: str, token: int, ttl_ms: int) -> Lease | Wait | End:
        """The lowest unit that came back, else the next one in order that lies in its lane's window.

        Raises StaleToken: `token` is not that of the role `producer` any more.
        """
        word, *facts = self._call("lease_unit", producer, token, ttl_ms, secrets.token_hex(8))
        if word == "lease":
            return Lease(*facts)
        return Wait(*facts) if word == "wait" else End()

    def renew_leases(self, producer: str, tokens: Mapping[int, int], ttl_ms: int) -> list[int]:
        """Prolongs the leases of `tokens` (unit -> token); gives the units that `producer` has lost."""
        if not tokens:
            return []
        return self._call("renew_leases", ttl_ms, *(part for item in tokens.items() for part in item))[1:]

    def announce_unit(self, unit: int, token: int, rows: int) -> None:
        """How many rows the unit has; call before its first push. Raises StaleToken; RegistryError: it had others."""
        word, *facts = self._call("announce_unit", unit, token, rows)
        if word == "differs":
            raise RegistryError(f"unit {unit} had {facts[0]} rows before and has {rows} now: the corpus has changed")

    def finish_unit(self, unit: int, token: int) -> None:
        """The lane has accepted every chunk of the unit; may be called again. Raises StaleToken."""
        self._call("finish_unit", unit, token)

    def give_back_unit(self, unit: int, token: int, reason: str, is_blamed: bool = True) -> bool:
        """The holder could not do the unit: it comes back at once. True when it was set aside.

        A unit that is not blamed, because something else was wrong, has not used up one of its attempts.
        Raises StaleToken.
        """
        return bool(self._call("give_back_unit", unit, token, int(is_blamed), reason)[1])

    def release_producer(self, token: int, producer: str, reason: str = "", is_blamed: bool = True) -> list[int]:
        """Takes back all that a dead producer held, at once; not blamed: the attempts do not count.

        It may lease no more, should it still live; `token` is the driver's.
        """
        return self._call("release_producer", token, producer, int(is_blamed), reason or f"{producer} died")[1:]

    def dead_units(self) -> list[DeadUnit]:
        """The units that were set aside, in order; lanes must be told to pass over them."""
        with registry_errors(self._client):
            found: Any = self._client.hgetall(self._keys["dead"])
        with sound_contents(self.job):
            return list(parse_dead([part for item in found.items() for part in item]))
