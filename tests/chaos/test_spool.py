"""A trainer that is killed reads again from the spool what the log no longer holds."""

from pathlib import Path

import pytest

from cluster.controller import Outcome
from tests.integration.scenario import TRAINERS, kill, make_job, run, weights, when_block

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("own_ray")]
TWO = {"stream__spool_bytes": "64MiB", "trainers": TRAINERS[1:]}


def test_it_catches_up_while_nobody_else_goes_back(tmp_path: Path, gpt2_folder: str, corpus_folder: str) -> None:
    plain = make_job(tmp_path / "plain", gpt2_folder, corpus_folder, **TWO)
    expected = run(plain)
    job = make_job(tmp_path, gpt2_folder, corpus_folder, **TWO)
    seen = run(job, meanwhile=when_block(13, kill("trainer-topk-slow")))
    assert seen.outcome is Outcome.FINISHED and seen.imbalances == [] and seen.digests == expected.digests
    assert weights(job) == weights(plain)
    assert any(
        message.startswith("trainer-topk-slow died") and "; back from block " in message for message in seen.events
    )
    assert not any("all went back" in message for message in seen.events), seen.events
    assert not (tmp_path / "run" / "spool").exists()
