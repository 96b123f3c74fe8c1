"""A trainer whose heart beats while it stands still is taken for hung, though not soon; nobody else is touched."""

from pathlib import Path

import pytest

from cluster.controller import Outcome
from shared.registry import Registry
from tests.integration.scenario import TRAINERS, make_job, run, weights, when_block
from tests.wayward import ARCHITECTURE, HANG

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("own_ray")]
STUCK_S = 20.0
"""Instead of half an hour; all that wait move more often."""


def test_who_does_not_get_on_is_replaced(
    tmp_path: Path, gpt2_folder: str, corpus_folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    orders = tmp_path / "orders"
    wayward = {"name": "stuck", "architecture": ARCHITECTURE, "num_latents": 64, "k": 8, "orders": str(orders)}
    changes = {"trainers": [wayward, TRAINERS[1]], "stream__spool_bytes": "64MiB"}
    plain = make_job(tmp_path / "plain", gpt2_folder, corpus_folder, **changes)
    expected = run(plain)

    def strike(registry: Registry) -> None:
        orders.write_text(HANG)

    monkeypatch.setattr("cluster.hearing.STUCK_S", STUCK_S)
    job = make_job(tmp_path, gpt2_folder, corpus_folder, **changes)
    seen = run(job, meanwhile=when_block(5, strike))
    assert seen.outcome is Outcome.FINISHED and seen.imbalances == []
    (death,) = [message for message in seen.events if message.endswith(" s later")]
    assert death.startswith("trainer-stuck did not get on for 0 min; back from block "), death
    assert seen.digests == expected.digests and weights(job) == weights(plain)
