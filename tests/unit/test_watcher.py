"""The driver's eyes on a real registry."""

from pathlib import Path

import pytest
import redis

from cluster.watcher import Watcher
from shared.errors import JobFailed
from shared.registry import Registry
from shared.registry_facts import Event
from shared.registry_keys import job_keys
from shared.registry_snapshot import Snapshot


class Screen:
    def __init__(self) -> None:
        self.shown: list[str] = []

    def update(self, snapshot: Snapshot) -> None: ...

    def event(self, event: Event) -> None:
        self.shown.append(event.message)


def test_a_registry_that_has_lost_the_job_fails_it_and_says_how_to_go_on(
    client: redis.Redis, registry: Registry, driver: int, tmp_path: Path
) -> None:
    screen = Screen()
    watcher = Watcher(registry, driver, tmp_path, screen, None)
    try:
        watcher.event("note", "it has begun")
        assert watcher.look() is not None and screen.shown == ["it has begun"]
        client.delete(*job_keys(registry.job))
        expected = f"there is no job named {registry.job} in this registry any more; go on with: headrace resume "
        with pytest.raises(JobFailed, match=expected):
            watcher.look()
    finally:
        watcher.close()
