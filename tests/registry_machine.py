"""What the stateful tests of the registry share: a real server that is killed and started again from its append-only
file, a clock that goes on and jumps either way, and tokens that only grow."""

import os
import signal
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from shared.embedded_redis import EmbeddedRedis
from shared.registry import Registry
from shared.registry_keys import job_keys
from tests.memory_folder import memory_folder
from tests.redis_clock import ClockedRedis

TTL_MS = 30_000
BEGUN_MS = 1_700_000_000_000
MAX_RESTARTS = 2
"""In one example: each takes a tenth of a second."""
JUMPS_MS = st.one_of(st.integers(0, 2 * TTL_MS), st.sampled_from([TTL_MS, TTL_MS + 1, -1, -TTL_MS, 10**8, -(10**8)]))


class RegistryMachine(RuleBasedStateMachine):
    """One job, of which the registry knows nothing yet."""

    def __init__(self, embedded: EmbeddedRedis, client: ClockedRedis) -> None:
        super().__init__()
        self.embedded, self.client, self.registry = embedded, client, Registry(client, "model")
        self.now_ms, self.num_restarts, self.newest_token = BEGUN_MS, 0, 0
        self.move_clock(0)

    def newer(self, token: int) -> int:
        """Whatever the clock says and whatever happens to the server, no token comes twice, nor below another."""
        assert token > self.newest_token
        self.newest_token = token
        return token

    @rule(by_ms=JUMPS_MS)
    def move_clock(self, by_ms: int) -> None:
        self.now_ms += by_ms
        self.client.set_clock(self.now_ms)

    @precondition(lambda self: self.num_restarts < MAX_RESTARTS)
    @rule()
    def kill_and_restart(self) -> None:
        self.num_restarts += 1
        os.kill(int(self.client.info("server")["process_id"]), signal.SIGKILL)  # type: ignore[index]
        self.embedded.connect().close()

    def teardown(self) -> None:
        self.client.delete(*job_keys(self.registry.job))


def run_machine(machine: type[RegistryMachine], num_examples: int) -> None:
    """Many examples of it, on a server that nobody else needs: a slow disk would put off writes, which a kill loses."""
    checked = settings(
        max_examples=num_examples, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )
    with memory_folder("model") as folder:
        embedded = EmbeddedRedis(Path(folder))
        try:
            with embedded.connect() as connected:
                client = ClockedRedis.like(connected)
                run_state_machine_as_test(lambda: machine(embedded, client), settings=checked)
        finally:
            embedded.stop()
