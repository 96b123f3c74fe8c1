"""Waiting for Redis: a part with work in memory goes on, and what must be said is said once Redis is back."""

import logging
import time
from collections.abc import Callable
from typing import Any, TypeVar

import redis

from shared.errors import RegistryUnreachable
from shared.registry import Registry

log = logging.getLogger(__name__)
PAUSE_S = 1.0
T = TypeVar("T")


def patiently(call: Callable[[], T], is_patient: Callable[[], bool] = lambda: True) -> T:
    """What `call` gives, tried again for as long as the registry does not answer and `is_patient`.

    Raises:
        RegistryUnreachable: it does not answer, and we are patient no more.
    """
    while True:
        try:
            return call()
        except RegistryUnreachable as error:
            if not is_patient():
                raise
            log.warning("registry=unreachable reason=%s", error)
            time.sleep(PAUSE_S)


def if_reachable(call: Callable[[], object]) -> bool:
    """`call`, unless the registry does not answer: what it says will be said again. Whether it was said."""
    try:
        call()
    except RegistryUnreachable as error:
        log.warning("registry=unreachable reason=%s", error)
        return False
    return True


class PatientRegistry(Registry):
    """The driver's: what it must say is said once Redis is back, since a job does not end because Redis was away."""

    def __init__(self, client: redis.Redis, job: str, is_patient: Callable[[], bool] = lambda: True) -> None:
        super().__init__(client, job)
        self._is_patient = is_patient

    def _call(self, name: str, *args: str | int) -> list[Any]:
        call = super()._call
        return patiently(lambda: call(name, *args), self._is_patient)
