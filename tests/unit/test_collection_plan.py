"""Which text each collector reads, what its saves are of, and that parts make the whole; without Ray."""

import json
import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from ray.exceptions import ActorDiedError, RayTaskError
from tiny_models import text
from trained_run import make_job, train_run

from cluster.collect_run import collect_run
from cluster.collection_plan import CollectionPlan, Share, shares_of
from cluster.collector_crew import MAX_RESTARTS, ending
from cluster.evaluation import Subject
from cluster.gathering import lasting
from cluster.subjects import find_saved, load_subjects
from cluster.unread import find_text
from features.collection import Collection
from features.contexts_table import contexts_tables
from features.settings import CollectionSettings
from producers.producer import Chunk, Producer
from shared.config import Job
from shared.errors import JobFailed, UserError

SETTINGS = CollectionSettings(5, 2, 40, 12)
TOKENS = 4000


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    folder = tmp_path_factory.mktemp("planned")
    job = make_job(folder)
    train_run(job)
    documents = [json.dumps({"text": text(60, seed=100 + number)}) for number in range(60)]
    (folder / "more.jsonl").write_text("\n".join(documents))
    return job


@pytest.fixture
def plan(job: Job, tmp_path: Path) -> CollectionPlan:
    run_folder = Path(job.output)
    saved = find_saved(run_folder, job, ())
    placed = job.model.model_copy(update={"device": "cpu", "dtype": "float32"})
    job = job.model_copy(update={"model": placed})
    found = find_text(run_folder, job, saved, str(run_folder.parent / "more.jsonl"))
    return CollectionPlan(job, saved, found.excerpt, TOKENS, SETTINGS, {"weights": "w"}, tmp_path / "saves", 0.0)


@pytest.fixture
def subjects(plan: CollectionPlan) -> list[Subject]:
    return load_subjects(plan.saes, plan.job, "cpu")


def collected(plan: CollectionPlan, share: Share, subjects: list[Subject], tokens: int = 10**9) -> Collection:
    """As a collector does it, to the end of the text, or as far as `tokens`; saved."""
    units = plan.excerpt.open()
    reading = plan.begin(share, Producer(plan.job, units), subjects)
    reading.run(share.units(units.num_units), tokens, lambda rows: None, plan.save_s)
    reading.save()
    return reading.collection


@pytest.mark.parametrize(("count", "num_units"), [(1, 7), (2, 7), (3, 7), (7, 7), (4, 100)])
def test_each_unit_is_in_one_share(count: int, num_units: int) -> None:
    shares = shares_of(count, num_units)
    assert sorted(unit for one in shares for unit in one.units(num_units)) == list(range(num_units))
    assert all(len(one.units(num_units)) > 0 for one in shares)
    assert 100 <= sum(one.tokens(100) for one in shares) < 100 + count
    assert shares[-1].units(num_units).start == count - 1 and shares[0].units(num_units).step == count


def test_a_text_has_no_more_collectors_than_units() -> None:
    with pytest.raises(UserError, match=r"--collectors must be at most 3, the number of units of the text, got 4$"):
        shares_of(4, 3)
    with pytest.raises(UserError, match=r"--collectors must be at least 1, got 0$"):
        shares_of(0, 3)


def test_saves_of_another_share_number_or_budget_are_another_collections() -> None:
    whole = {"weights": "w"}
    assert Share(0, 1).identity(whole, 10) == Share(0, 1).identity(whole, 20) == whole
    shares = [(Share(0, 2), 10), (Share(1, 2), 10), (Share(0, 3), 10), (Share(0, 2), 20)]
    told = [share.identity(whole, tokens) for share, tokens in shares]
    assert all(told.count(one) == 1 for one in [whole, *told] if one != whole)
    states = [Share(0, 1), Share(0, 2), Share(1, 2), Share(1, 3)]
    assert len({share.state(Path("s")) for share in states}) == 4


def test_a_plan_can_be_sent(plan: CollectionPlan) -> None:
    there = pickle.loads(pickle.dumps(plan))
    assert there == plan and there.excerpt.open().num_units > 6


def test_merged_shares_are_one_pass_over_all_of_the_text(plan: CollectionPlan, subjects: list[Subject]) -> None:
    whole = collected(replace(plan, state=plan.state / "whole"), Share(0, 1), subjects)
    assert whole.rows > 2 * TOKENS
    shares = shares_of(3, plan.excerpt.open().num_units)
    by_hand, second, third = (collected(plan, share, subjects) for share in shares)
    merged = plan.merged([by_hand.rows, second.rows, third.rows], shares, subjects)
    by_hand.merge(second)
    by_hand.merge(third)
    assert merged.rows == by_hand.rows == whole.rows and merged.contexts == by_hand.contexts == whole.contexts
    for name, collector in merged.collectors.items():
        for sums in ("fired", "histogram", "max_act"):
            np.testing.assert_array_equal(
                getattr(collector.moments, sums), getattr(whole.collectors[name].moments, sums)
            )
        np.testing.assert_array_equal(collector.moments.sums, by_hand.collectors[name].moments.sums)
        np.testing.assert_allclose(collector.moments.sums, whole.collectors[name].moments.sums, rtol=1e-12)
        (mine,) = contexts_tables(collector, merged.texts, SETTINGS.seed)
        (theirs,) = contexts_tables(whole.collectors[name], whole.texts, SETTINGS.seed)
        assert mine.equals(theirs)


def test_a_share_that_was_interrupted_goes_on(
    plan: CollectionPlan, subjects: list[Subject], monkeypatch: pytest.MonkeyPatch
) -> None:
    share = Share(1, 2)
    straight = collected(replace(plan, state=plan.state / "straight"), share, subjects)
    chunks, seen = Producer.chunks, list[int]()

    def stop_at_unit_5(self: Producer, units: range) -> object:
        for chunk in chunks(self, units):
            assert isinstance(chunk, Chunk)
            if chunk.unit == 5:
                raise KeyboardInterrupt
            seen.append(chunk.unit)
            yield chunk

    monkeypatch.setattr(Producer, "chunks", stop_at_unit_5)
    with pytest.raises(KeyboardInterrupt):
        collected(plan, share, subjects)
    assert set(seen) == {1, 3} and 0 < plan.saved_rows(share) < straight.rows
    assert plan.saved_rows(Share(1, 3)) == 0 == replace(plan, tokens=TOKENS + 1).saved_rows(share)
    monkeypatch.undo()
    resumed = collected(plan, share, subjects)
    assert resumed.rows == straight.rows == plan.saved_rows(share)
    for name, collector in resumed.collectors.items():
        np.testing.assert_array_equal(collector.moments.sums, straight.collectors[name].moments.sums)


def test_a_share_that_is_done_reads_no_more(plan: CollectionPlan, subjects: list[Subject]) -> None:
    share = Share(0, 2)
    done = collected(plan, share, subjects, share.tokens(TOKENS))
    assert share.tokens(TOKENS) <= done.rows < TOKENS
    assert collected(plan, share, subjects, share.tokens(TOKENS)).rows == done.rows


def test_a_save_that_is_not_seen_is_a_sentence(plan: CollectionPlan, subjects: list[Subject]) -> None:
    with pytest.raises(JobFailed, match=r"^collector-1 has saved 7 tokens in .*/saves/1-of-2, and here 0 are seen"):
        plan.merged([7], [Share(1, 2)], subjects)


def test_a_checkpoint_may_go_while_collectors_need_its_saes(job: Job, plan: CollectionPlan, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(Path(job.output) / "checkpoints", run / "checkpoints")
    plan = replace(plan, saes=find_saved(run, job, ()))
    subjects = load_subjects(plan.saes, plan.job, "cpu")
    saes = lasting(plan, subjects)
    shutil.rmtree(run)
    for mine, theirs in zip(load_subjects(saes, plan.job, "cpu"), subjects, strict=True):
        assert (mine.name, mine.inputs, mine.targets) == (theirs.name, theirs.inputs, theirs.targets)
        for name, weights in theirs.sae.state_dict().items():
            assert torch.equal(mine.sae.state_dict()[name], weights), name


def test_text_that_has_changed_is_refused(plan: CollectionPlan) -> None:
    with pytest.raises(UserError, match="the files of the text have changed since this collection began"):
        plan.excerpt._replace(fingerprint="another").open()


def test_what_a_collector_says_of_itself_ends_the_command() -> None:
    said = ending("collector-1", RayTaskError("run", "Traceback …", UserError("model.name: there is no folder m")), 1)
    assert type(said) is UserError and str(said) == "model.name: there is no folder m"
    said = ending("collector-1", RayTaskError("run", "Traceback …", RuntimeError("no\nway")), 1)
    assert type(said) is JobFailed and str(said).startswith("collector-1 failed with RuntimeError: no (the traceback")


def test_a_collector_that_died_is_replaced_a_few_times() -> None:
    died = ActorDiedError()
    assert ending("collector-0", died, MAX_RESTARTS) is None
    said = str(ending("collector-0", died, MAX_RESTARTS + 1))
    assert said.startswith("collector-0 died (its process was killed or crashed), too often; the same command goes on")


def test_more_collectors_than_units_are_refused_before_ray_starts(job: Job) -> None:
    with pytest.raises(UserError, match="--collectors must be at most"):
        collect_run(Path(job.output), job, (), TOKENS, SETTINGS, collectors=1000)
