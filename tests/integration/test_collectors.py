"""Features collected by several collectors: whatever happens to them, the files are those of collectors left alone."""

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from ray._private.state import actors

from cluster import collector_crew
from cluster.collect_run import Collected, collect_run
from cluster.collection_pass import CollectionPass
from cluster.collection_plan import shares_of
from cluster.subjects import find_saved, load_subjects
from cluster.unread import find_text
from features.settings import CollectionSettings
from features.store import FeatureStore
from producers.producer import Producer
from shared.config import Job
from shared.errors import JobFailed
from tests.tiny_models import text
from tests.trained_run import make_job, train_run

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("own_ray")]
SETTINGS = CollectionSettings(5, 2, 40, 12)
TOKENS, COLLECTORS = 20_000, 2


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """Of a run with two SAEs, and text that they have not read beside it."""
    folder = tmp_path_factory.mktemp("collectors")
    job = make_job(folder)
    train_run(job)
    documents = [json.dumps({"text": text(60, seed=100 + number)}) for number in range(500)]
    (folder / "more.jsonl").write_text("\n".join(documents))
    return job


def source(job: Job) -> str:
    return str(Path(job.output).parent / "more.jsonl")


def collect(job: Job, run: Path, save_s: float = 60.0) -> Collected:
    """Into `run`, which has the SAEs of `job`."""
    run.mkdir(exist_ok=True)
    if not (run / "saes").exists():
        (run / "saes").symlink_to(Path(job.output) / "saes")
    return collect_run(run, job, (), TOKENS, SETTINGS, source(job), save_s=save_s, collectors=COLLECTORS)


def files(run: Path) -> dict[str, bytes]:
    """All that is in the folder of features."""
    folder = run / "features"
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def left_alone(job: Job, own_ray: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("left") / "run"
    done = collect(job, run)
    assert done.rows >= TOKENS and done.went_on_from == 0
    return run


def next_units(run: Path) -> list[int]:
    """Where each collector that has saved itself would go on."""
    found = []
    for number in range(COLLECTORS):
        try:
            saved = (run / "features" / ".collecting" / f"{number}-of-{COLLECTORS}" / "collection.json").read_text()
            found.append(json.loads(saved)["facts"]["next_unit"])
        except FileNotFoundError:  # not yet, or just now it is between two
            return []
    return found


def pids() -> list[int]:
    """Of the collectors that live."""
    found = [one for one in actors().values() if one["ActorClassName"] == "CollectorActor" and one["State"] == "ALIVE"]
    return [one["Pid"] for one in found]


@contextmanager
def killing_one(run: Path, look: Callable[[list[int]], None] = lambda units: None) -> Iterator[list[int]]:
    """Kills one collector when all have saved some units; gives where they then go on, and `look` what comes after."""
    killed, ending = list[int](), threading.Event()

    def watch() -> None:
        while not ending.wait(0.02):
            units = next_units(run)
            alive = pids() if not killed and units and min(units) >= 3 * COLLECTORS else []
            if alive:
                os.kill(alive[0], signal.SIGKILL)
                killed.extend(units)
            elif killed and units:
                look(units)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield killed
    finally:
        ending.set()
        thread.join(10)


def test_counts_are_those_of_shares_that_are_merged_by_hand(job: Job, left_alone: Path) -> None:
    saved = find_saved(left_alone, job, ())
    units = find_text(left_alone, job, saved, source(job)).units
    subjects, producer = load_subjects(saved, job, "cpu"), Producer(job, units)
    parts = []
    for share in shares_of(COLLECTORS, units.num_units):
        one = CollectionPass(producer, subjects, job.corpus.context_tokens, SETTINGS, left_alone / "none", {})
        one.run(share.units(units.num_units), share.tokens(TOKENS), lambda rows: None)
        parts.append(one.collection)
    whole, other = parts
    assert whole.rows >= TOKENS // 2 <= other.rows
    whole.merge(other)
    for name, collector in whole.collectors.items():
        store = FeatureStore.open(left_alone / "features" / name)
        assert (store.meta.tokens, store.meta.contexts) == (whole.rows, whole.contexts)
        np.testing.assert_array_equal(store.catalog.column("fired").to_numpy(), collector.moments.fired)
        densities = collector.moments.fired / whole.rows
        np.testing.assert_array_equal(store.catalog.column("density").to_numpy(), densities)


def test_a_collector_that_is_killed_changes_no_byte(job: Job, left_alone: Path, tmp_path: Path) -> None:
    seen: list[list[int]] = []
    with killing_one(tmp_path / "run", seen.append) as killed_at:
        done = collect(job, tmp_path / "run", save_s=0.0)
    assert killed_at and seen and done.went_on_from == 0
    assert all(now >= then for units in seen for now, then in zip(units, killed_at, strict=True)), "one began anew"
    assert files(tmp_path / "run") == files(left_alone)


def test_a_command_that_ended_goes_on_from_what_collectors_saved(
    job: Job, left_alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    monkeypatch.setattr(collector_crew, "MAX_RESTARTS", 0)
    with (
        killing_one(run),
        pytest.raises(JobFailed, match=r"^collector-[01] died \(its process was killed or crashed\), too often; "),
    ):
        collect(job, run, save_s=0.0)
    deadline = time.monotonic() + 20
    while pids() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not pids() and len(next_units(run)) == COLLECTORS
    done = collect(job, run)
    assert 0 < done.went_on_from < done.rows
    assert files(run) == files(left_alone)
