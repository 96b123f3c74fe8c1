"""How a job stands: facts for machines, tables for people, and the stage that bounds it."""

import io
import json
import subprocess
import sys
from dataclasses import asdict, replace

import pytest
from example_run import (
    BEGUN_MS,
    BLOCK_ROWS,
    example_job,
    example_snapshot,
    example_trainers,
    lane_facts,
    trainer_counters,
)
from rich.console import Console

from cluster.limiting_stage import blocks_ready, limiting_stage
from cluster.status import print_status, status_facts
from cluster.status_table import jobs_table, status_view
from cluster.wording import count, duration, percent
from shared.job_state import JobState
from shared.registry_facts import DeadUnit, EvaluationRecord, JobSummary
from shared.registry_snapshot import UnitFacts

JOB = example_job()
GIB = 2**30


def printed(renderable, width=120):
    console = Console(file=io.StringIO(), width=width)
    console.print(renderable)
    return console.file.getvalue()


def stage(**snapshot):
    return limiting_stage(example_snapshot(**snapshot), JOB)


def test_facts_hold_what_the_design_promises():
    facts = json.loads(json.dumps(status_facts(example_snapshot(), JOB), allow_nan=False))
    promised = "job state tokens tokens_per_s blocks producers lanes ledger trainers checkpoint message output"
    assert set(promised.split()) | {"limiting_stage", "seconds_left"} <= set(facts)
    keys = "name state architecture num_latents tokens blocks lag_blocks fvu l0 dead_fraction digest"
    assert all(set(keys.split()) <= set(one) for one in facts["trainers"])
    assert [one["name"] for one in facts["trainers"]] == [one.name for one in JOB.trainers]
    assert facts["trainers"][-1]["architecture"] == "relu_l1"
    assert facts["held_out_contexts"] == 39_000
    assert "about 39,000 contexts, read by no trainer" in printed(status_view(facts, 120))


def test_what_was_measured_on_held_out_text_is_shown_where_there_is_some():
    assert all(one["evaluation"] is None for one in status_facts(example_snapshot(), JOB)["trainers"])
    record = EvaluationRecord(7600, 7600 * BLOCK_ROWS, 1024, 0.0912, 32.0, 0.011, 0.0831, 0.9911, 0.0725)
    facts = status_facts(replace(example_snapshot(), evaluations={"relu-16384": record}), JOB)
    assert facts["trainers"][-1]["evaluation"] == asdict(record)
    lines = printed(status_view(facts, 80), 80).splitlines()
    (row,) = [line for line in lines if line.startswith("relu-16384") and "0.0831" in line]
    assert row.split()[1:] == ["125M", "tokens", "0.0912", "32.0", "1.1%", "0.0831", "0.9911", "0.0725"]
    assert any("held out" in line and "ΔCE" in line for line in lines)
    without = EvaluationRecord(7600, 7600 * BLOCK_ROWS, 1024, 0.0912, 32.0, 0.011)
    shown = replace(example_snapshot(), evaluations={"relu-16384": without})
    assert "0.0912  32.0  1.1%    —" in printed(status_view(status_facts(shown, JOB), 120))


def test_tokens_are_those_of_the_slowest_trainer():
    trainers = {**example_trainers(7639), "relu-16384": trainer_counters(7000, rows_per_s=50_000.0)}
    facts = status_facts(example_snapshot(trainers=trainers), JOB)
    assert facts["tokens"] == 7000 * BLOCK_ROWS
    assert facts["tokens_per_s"] == 50_000
    assert facts["seconds_left"] == pytest.approx((JOB.tokens - 7000 * BLOCK_ROWS) / 50_000)


def test_blocks_less_a_trainers_own_are_its_lag():
    trainers = {**example_trainers(7639), "relu-16384": trainer_counters(7000)}
    facts = status_facts(example_snapshot(trainers=trainers), JOB)
    assert all(one["blocks"] + one["lag_blocks"] == facts["blocks"] for one in facts["trainers"])


def test_time_left_is_unknown_while_a_trainer_stands_still():
    trainers = {**example_trainers(7639), "relu-16384": trainer_counters(7000, rows_per_s=0.0)}
    assert status_facts(example_snapshot(trainers=trainers), JOB)["seconds_left"] is None


def test_a_finished_job_has_no_rate_and_no_limit():
    facts = status_facts(example_snapshot(state=JobState.FINISHED), JOB)
    assert (facts["tokens_per_s"], facts["seconds_left"], facts["limiting_stage"]) == (0.0, None, None)


@pytest.mark.parametrize("state", [JobState.STOPPED, JobState.FAILED])
def test_a_job_that_can_go_on_says_with_which_command(state):
    text = printed(status_view(status_facts(example_snapshot(state=state), JOB), 80), 80)
    assert f"headrace resume {example_snapshot().job.output}" in text


def test_a_job_that_lost_its_driver_is_not_shown_as_running():
    running = example_snapshot()
    lost = replace(running, job=replace(running.job, driver_age_ms=99_000))
    facts = status_facts(lost, JOB)
    assert facts["has_lost_driver"] and (facts["tokens_per_s"], facts["seconds_left"]) == (0.0, None)
    text = printed(status_view(facts, 80), 80)
    assert "driver lost" in text and "headrace resume" in text and facts["limiting_stage"] is None
    assert "resume" not in printed(status_view(status_facts(running, JOB), 80), 80)


def test_a_job_that_has_not_begun_has_facts_and_a_picture():
    snapshot = replace(example_snapshot(trainers={}, state=JobState.QUEUED), lanes=(), heartbeats={})
    facts = status_facts(snapshot, JOB)
    assert (facts["tokens"], facts["blocks"], facts["trainers"]) == (0, 0, [])
    print_status(snapshot, JOB, Console(file=io.StringIO()))


def test_a_trainer_that_the_job_file_does_not_know_has_no_architecture():
    trainers = {"newcomer": trainer_counters(7639)}
    (one,) = status_facts(example_snapshot(trainers=trainers), JOB)["trainers"]
    assert (one["architecture"], one["num_latents"]) == (None, None)


def test_an_imbalance_is_said_to_machines_and_people():
    bad = lane_facts(7640)
    bad = replace(bad, counters=replace(bad.counters, pushed=bad.counters.pushed - 5))
    snapshot = example_snapshot(lanes=(bad, lane_facts(7641, lane=1)))
    assert not status_facts(snapshot, JOB)["ledger"]["balances"]
    console = Console(file=io.StringIO(), width=200)
    print_status(snapshot, JOB, console)
    assert "does not balance" in console.file.getvalue() and "lane-0:" in console.file.getvalue()


@pytest.mark.parametrize("width", [80, 100, 160])
def test_status_keeps_every_number_at_any_width(width):
    console = Console(file=io.StringIO(), width=width, soft_wrap=True)
    units = UnitFacts({1812: "producer-0"}, (), (), (DeadUnit(911, "not [UTF-8]"),))
    print_status(example_snapshot(units=units), JOB, console)
    text = console.file.getvalue()
    assert all(len(line) <= width for line in text.splitlines())
    assert all(word in text for word in ("topk-262144-k64", "262,144", "0.0850", "64.0", "125M", "not [UTF-8]"))


def test_jobs_are_listed_and_a_lost_driver_is_told():
    alive = JobSummary("gpt2-sizes", JobState.RUNNING, "", "runs/gpt2-sizes", BEGUN_MS, 300, 125_000_000)
    jobs = [alive, replace(alive, name="demo", state=JobState.FINISHED), replace(alive, name="l", driver_age_ms=99_000)]
    text = printed(jobs_table(jobs, BEGUN_MS + 7_200_000))
    assert [word in text for word in ("gpt2-sizes", "finished", "driver lost", "2 h 00 min ago", "125M")] == [True] * 5


def test_producers_bound_a_stream_whose_reservoirs_wait():
    assert stage().stage == "producers"


def test_the_first_filling_is_told():
    lanes = (lane_facts(0, resident=430_000), lane_facts(1, lane=1, resident=500_000))
    found = stage(lanes=lanes, trainers=example_trainers(0))
    assert found.stage == "producers" and "43%" in found.reason


def test_a_lane_bounds_when_it_is_full_and_trainers_wait():
    lanes = (lane_facts(7640, resident=1_000_000), lane_facts(7641, lane=1, resident=1_000_000))
    assert stage(lanes=lanes, trainers=example_trainers(7640)).stage == "lane-0"


def test_a_lane_bounds_when_rows_of_its_next_unit_wait():
    lanes = (lane_facts(7640, resident=990_000, staged=4000, head=906), lane_facts(7641, lane=1, resident=990_000))
    assert stage(lanes=lanes, units=UnitFacts({1812: "producer-0"}, (), (), ())).stage == "lane-0"
    assert stage(lanes=lanes, units=UnitFacts({}, (1812, 1814), (), ())).stage == "lane-0"


def test_rows_that_came_early_do_not_make_a_lane_slow():
    lanes = (lane_facts(7640, resident=990_000, staged=4000, head=906), lane_facts(7641, lane=1, resident=990_000))
    units = UnitFacts({1812: "producer-0", 1814: "producer-1"}, (), (), ())
    assert stage(lanes=lanes, units=units).stage == "producers"


def test_a_trainer_bounds_when_blocks_are_ready_for_it():
    trainers = {**example_trainers(7639), "relu-16384": trainer_counters(7600)}
    found = stage(trainers=trainers)
    assert found.stage == "trainer-relu-16384" and "40 blocks are ready" in found.reason


def test_a_trainer_that_holds_up_a_full_log_is_told():
    lanes = tuple(
        lane_facts(7640 + lane, lane=lane, log_first_block=7600 + lane, log_bytes=4 * GIB - 2**20) for lane in range(2)
    )
    found = stage(lanes=lanes, trainers={**example_trainers(7639), "relu-16384": trainer_counters(7600)})
    assert found.stage == "trainer-relu-16384" and "full" in found.reason


def test_a_log_full_of_blocks_that_all_have_read_holds_up_nobody():
    lanes = tuple(
        lane_facts(7640 + lane, lane=lane, resident=990_000, log_first_block=7600 + lane, log_bytes=4 * GIB)
        for lane in range(2)
    )
    assert stage(lanes=lanes, trainers=example_trainers(7639)).stage == "producers"


def test_blocks_of_the_other_lane_do_not_count_as_ready():
    lanes = (lane_facts(7640, resident=990_000), lane_facts(7661, lane=1))
    assert blocks_ready(lanes) == 7640
    assert stage(lanes=lanes, trainers=example_trainers(7640)).stage == "producers"


def test_a_detached_trainer_bounds_nothing():
    trainers = {**example_trainers(7639), "relu-16384": trainer_counters(100, state="detached")}
    assert stage(trainers=trainers).stage == "producers"


def test_at_the_streams_end_the_last_trainer_bounds():
    lanes = tuple(lane_facts(30_518 + lane, lane=lane, resident=0, satisfied=True) for lane in range(2))
    assert blocks_ready(lanes) == 30_518
    trainers = {**example_trainers(30_518), "relu-16384": trainer_counters(30_000)}
    assert stage(lanes=lanes, trainers=trainers).stage == "trainer-relu-16384"


@pytest.mark.parametrize("state", [JobState.QUEUED, JobState.STARTING, JobState.STOPPED, JobState.FAILED])
def test_nothing_bounds_what_does_not_stream(state):
    assert stage(state=state) is None


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0, "0"),
        (950, "950"),
        (999.6, "1k"),
        (12_345, "12.3k"),
        (999_999, "1M"),
        (1_234_567, "1.23M"),
        (500e6, "500M"),
        (None, "—"),
    ],
)
def test_counts_have_three_digits(number, words):
    assert count(number) == words


@pytest.mark.parametrize(
    ("share", "words"), [(0, "0%"), (0.0001, "<0.1%"), (0.0132, "1.3%"), (0.25, "25%"), (0.9999, "99.9%"), (1, "100%")]
)
def test_what_is_not_all_is_not_100_percent(share, words):
    assert percent(share) == words


@pytest.mark.parametrize(
    ("seconds", "words"), [(45, "45 s"), (720, "12 min"), (11_100, "3 h 05 min"), (187_200, "2 d 4 h")]
)
def test_durations_read_well(seconds, words):
    assert duration(seconds) == words


def test_looking_at_a_job_imports_nothing_heavy():
    code = "import sys, cluster.status, cluster.progress; print({'torch', 'ray', 'transformers'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "set()", done.stderr
